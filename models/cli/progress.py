"""What a command prints before its work, and its progress bars."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from models.files.data_report import RowCount, in_words
from models.training.train import ReportProgress


def print_file(rows: Iterable[RowCount], warnings: Iterable[str], console: Console) -> None:
    """How the rows of a file are used, and what is wrong with it."""
    for line in in_words(rows):
        console.print(escape(line), highlight=False, soft_wrap=True)
    for warning in warnings:
        console.print(f"[yellow]warning:[/yellow] {escape(warning)}", soft_wrap=True)


@contextmanager
def progress_bars(names: Sequence[str], console: Console, *, transient: bool = False) -> Iterator[ReportProgress]:
    """A bar for each name, and the function that moves them: report("replay: day 3", 0.2).

    transient: the bars vanish at the end; otherwise their last lines stay, and with them what was reported last.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=transient) as progress:
        bars = {name: progress.add_task(name, total=1.0) for name in names}

        def report(what: str, share: float) -> None:
            progress.update(bars[what.partition(":")[0]], description=what, completed=share)

        yield report

"""What a command prints before its work, and its progress bars."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from models.files.data_report import RowCount, in_words

if TYPE_CHECKING:  # torch takes seconds to import, and many commands do not need it
    from models.training.train import ReportProgress


def print_file(rows: Iterable[RowCount], warnings: Iterable[str], console: Console) -> None:
    """How the rows of a file are used, and what is wrong with it."""
    for line in in_words(rows):
        console.print(escape(line), highlight=False, soft_wrap=True)
    for warning in warnings:
        console.print(f"[yellow]warning:[/yellow] {escape(warning)}", soft_wrap=True)


@contextmanager
def progress_bars(names: Sequence[str], console: Console, *, transient: bool = False) -> Iterator["ReportProgress"]:
    """A bar for each name, and the function that moves them: report("replay: day 3", 0.2).

    There are none before the first report: what is refused before its work shows no bars. transient: the bars vanish at
    the end; otherwise their last lines stay, and with them what was reported last.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    progress = Progress(*columns, console=console, transient=transient)
    bars: dict[str, TaskID] = {}

    def report(what: str, share: float) -> None:
        if not bars:
            bars.update({name: progress.add_task(name, total=1.0) for name in names})
            progress.start()
        progress.update(bars[what.partition(":")[0]], description=what, completed=share)

    try:
        yield report
    finally:
        if bars:
            progress.stop()

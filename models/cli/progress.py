"""What a command prints before its work, and its progress bars."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from models.files.data_report import RowCount, in_words

LINE_EVERY_S = 60.0

if TYPE_CHECKING:  # torch takes seconds to import, and many commands do not need it
    from models.training.train import ReportProgress


def print_file(rows: Iterable[RowCount], warnings: Iterable[str], console: Console) -> None:
    """How the rows of a file are used, and what is wrong with it."""
    for line in in_words(rows):
        console.print(escape(line), highlight=False, soft_wrap=True)
    for warning in warnings:
        console.print(f"[yellow]warning:[/yellow] {escape(warning)}", soft_wrap=True)


@contextmanager
def progress_bars(
    names: Sequence[str], console: Console, *, transient: bool = False, clock: Callable[[], float] = time.monotonic
) -> Iterator["ReportProgress"]:
    """A bar for each name, and the function that moves them: report("replay: day 3", 0.2).

    There are none before the first report: what is refused before its work shows no bars. transient: the bars vanish at
    the end; otherwise their last lines stay, and with them what was reported last. In a file, where no bar moves, a
    line is added at most every minute.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    bars, of_name, line_at_s = Progress(*columns, console=console, transient=transient), dict[str, TaskID](), 0.0

    def report(what: str, share: float) -> None:
        nonlocal line_at_s
        now_s = clock()
        if not of_name:
            of_name.update({name: bars.add_task(name, total=1.0) for name in names})
            bars.start()
            line_at_s = now_s
        bars.update(of_name[what.partition(":")[0]], description=what, completed=share)
        if not console.is_terminal and now_s - line_at_s >= LINE_EVERY_S:
            line_at_s = now_s
            console.print(f"{escape(what)}, {share:.0%}", highlight=False, soft_wrap=True)

    try:
        yield report
    finally:
        if of_name:
            bars.stop()

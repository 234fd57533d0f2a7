"""What a command prints before its work, and its progress bars."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
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
    bars = _Bars(names=names, console=console, transient=transient, clock=clock)
    try:
        yield bars.report
    finally:
        bars.stop()


@dataclass(kw_only=True)
class _Bars:
    names: Sequence[str]
    console: Console
    transient: bool
    clock: Callable[[], float]  # seconds
    _of_name: dict[str, TaskID] = field(default_factory=dict)
    _line_at_s: float = 0.0

    def __post_init__(self) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=self.console, transient=self.transient)

    def report(self, what: str, share: float) -> None:
        now_s = self.clock()
        if not self._of_name:
            self._of_name.update({name: self._progress.add_task(name, total=1.0) for name in self.names})
            self._progress.start()
            self._line_at_s = now_s
        self._progress.update(self._of_name[what.partition(":")[0]], description=what, completed=share)
        if not self.console.is_terminal and now_s - self._line_at_s >= LINE_EVERY_S:
            self._line_at_s = now_s
            self.console.print(f"{escape(what)}, {share:.0%}", highlight=False, soft_wrap=True)

    def stop(self) -> None:
        if self._of_name:
            self._progress.stop()

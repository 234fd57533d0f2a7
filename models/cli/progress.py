"""Progress bars of a command that works for minutes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from models.training.train import ReportProgress


@contextmanager
def progress_bars(names: Sequence[str], console: Console) -> Iterator[ReportProgress]:
    """A bar for each name, and the function that moves them: report("replay: day 3", 0.2)."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bars = {name: progress.add_task(name, total=1.0) for name in names}

        def report(what: str, share: float) -> None:
            progress.update(bars[what.partition(":")[0]], description=what, completed=share)

        yield report

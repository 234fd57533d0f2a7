"""What several commands share: options with one help text each, what is printed before the work, and progress bars.

Typer reads a command's options from its parameters.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from models.files.data_report import RowCount, in_words
from models.files.layouts import LAYOUT_HELP
from schemas.errors import SettingsError
from schemas.files import make_writable, write_errors

if TYPE_CHECKING:
    from models.training.train import ReportProgress

DATA_HELP = "Incident file: .csv, .csv.gz, or .zip with one .csv"
DATA_OR_ARCHIVE_HELP = f"{DATA_HELP}; or archive:PATH, archive:PATH@VERSION"
REGIONS_TABLE = escape("[[regions]]")  # `--help` takes brackets for markup
TASK_FILE_HELP = f"TOML file with a table {REGIONS_TABLE}: its region, data, layout, cell_m and all other choices"
TaskFile = Annotated[Path | None, typer.Argument(help=TASK_FILE_HELP, show_default=False)]
FileLayout = Annotated[str, typer.Option(help=f"Of a file: {LAYOUT_HELP}")]
Region = Annotated[str, typer.Option(help="Name of the region: a-z, 0-9, - and _")]
CellSide = Annotated[float, typer.Option(help="Side of a cell, metres")]
MasksFile = Annotated[
    Path | None, typer.Option("--masks", envvar="RISK_MASKS", help="GeoJSON of areas in which nothing is counted")
]
Until = Annotated[str, typer.Option(help="Local date YYYY-MM-DD: use only what happened before it; or none")]
Artifacts = Annotated[Path, typer.Option(envvar="RISK_ARTIFACTS", help="Folder of artifacts")]
SharedArtifacts = Annotated[
    Path, typer.Option(envvar="RISK_ARTIFACTS", help="Folder of artifacts; all workers must see it")
]
Master = Annotated[str, typer.Option(help="Spark master, such as spark://host:7077; without it, local[WORKERS]")]
LINE_EVERY_S = 60.0


def refuse_unwritable(out: Path) -> None:
    """Raises SettingsError, before hours of work, when nothing could be written into the folder of `--out`."""
    with write_errors(SettingsError, f"--out {out}", remedy="name another folder"):
        make_writable(out)


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

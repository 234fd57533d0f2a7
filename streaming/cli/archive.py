"""The `archive` command: keeps final counts for years."""

import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from schemas.spec import DAY_S, HOUR_S
from streaming.cli.stopping import stop_on_signals
from streaming.settings import Settings

if TYPE_CHECKING:
    from streaming.archive.collect import Archived
    from streaming.archive.table import ArchiveTable

_MISSING = (
    "missing: the job stood still for more than a day, was begun anew, or nobody archived them within 35 days; "
    "`archive-import` takes them from a file"
)


def archive(
    context: typer.Context,
    every: Annotated[float | None, typer.Option(min=0.01, help="Hours between two runs; without it, one run")] = None,
    keep_days: Annotated[int | None, typer.Option(min=1, help="Delete older days; without it, all are kept")] = None,
) -> None:
    """Add each region's final days, counted by cell, category and five minutes, to the archive at RISK_ARCHIVE."""
    settings: Settings = context.obj
    console = Console(highlight=False, soft_wrap=True)
    if every is None:
        _run(settings, keep_days, console)
        return
    stop = stop_on_signals()
    while not stop.is_set():
        _run(settings, keep_days, console)
        stop.wait(every * HOUR_S)


def _run(settings: Settings, keep_days: int | None, console: Console) -> None:
    from streaming.archive.collect import archive_region, regions_of  # torch: seconds that other commands save

    table = open_archive(settings)
    shown = _report_table()
    for _, spec in sorted(regions_of(settings.checkpoint).items()):
        _add(shown, archive_region(table, settings.checkpoint, spec))
    console.print(shown)
    if keep_days is not None:
        deleted = table.keep_from(int(time.time()) // DAY_S - keep_days)
        console.print(f"{deleted:,} rows older than {keep_days} days deleted")
    console.print(f"archive: {settings.archive}, version {table.version}")


def open_archive(settings: Settings) -> "ArchiveTable":
    from streaming.archive.table import ArchiveTable

    return ArchiveTable(settings.archive, settings.storage_options())


def _report_table() -> Table:
    shown = Table(box=None, pad_edge=False, caption=_MISSING)
    for name in ("region", "written", "incidents", "known by the hour only", "still open", "days in all", "missing"):
        shown.add_column(name, justify="left" if name in ("region", "missing") else "right")
    return shown


def _add(shown: Table, done: "Archived") -> None:
    numbers = (len(done.written), done.total("incidents"), done.total("by_hour"), done.total("open"), done.days)
    shown.add_row(done.region, *(f"{number:,}" for number in numbers), ", ".join(done.missing) or "none")

"""The `archive` command: keeps final counts for years."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from models.cli.options import DATA_HELP
from models.files.layouts import LAYOUT_HELP, parse_layout
from schemas.errors import ArtifactError, CheckpointError, RiskError, SettingsError
from schemas.masks import read_masks
from schemas.spec import DAY_S
from streaming.settings import Settings

if TYPE_CHECKING:
    from lifecycle.archive.collect import ArchivedRegion
    from lifecycle.archive.table import ArchiveTable

_DAYS_A_COMMIT = 100  # of a file: those of ten years at once would take a gigabyte
_MISSING = (
    "missing: the job stood still for more than a day, was begun anew, or nobody archived them within 35 days; "
    "`archive --data FILE` takes them from a file"
)


def archive(
    context: typer.Context,
    keep_days: Annotated[int | None, typer.Option(min=1, help="Delete older days; without it, all are kept")] = None,
    data: Annotated[Path | None, typer.Option(help=f"{DATA_HELP}: add its days, and nothing of the stream")] = None,
    layout: Annotated[str, typer.Option(help=f"Of that file: {LAYOUT_HELP}")] = "",
    region: Annotated[str, typer.Option(help="Of that file; the region's artifact gives cells and categories")] = "",
) -> None:
    """Add each region's final days, counted by cell, category and five minutes, to the archive at RISK_ARCHIVE.

    With --data, --layout and --region it adds the whole days of an incident file in place of those. Days that are
    there stay as they are.
    """
    settings: Settings = context.obj()
    console = Console(highlight=False, soft_wrap=True)
    if data or layout or region:
        if keep_days is not None or not (data and layout and region):
            fault = "--data, --layout and --region belong together, without --keep-days"
            raise SettingsError(fault, "give all three of them to add a file, or none")
        _add_file(settings, data, layout, region, console)
        return
    _run(settings, keep_days, console)


def _add_file(settings: Settings, data: Path, layout: str, region: str, console: Console) -> None:
    from lifecycle.archive.from_file import file_days
    from models.artifact.pointer import champion_of  # torch: seconds that other commands save
    from models.files.archive import spans
    from models.files.data_report import read_past

    spec = champion_of(settings.artifacts, region).spec
    table = open_archive(settings)
    masks = read_masks(settings.masks)
    past = read_past(data, parse_layout(layout), now_s=time.time(), masks=masks)
    of_file = file_days(past, spec, table.days(region))
    for first in range(0, len(of_file.days), _DAYS_A_COMMIT):
        table.append(spec, of_file.days[first : first + _DAYS_A_COMMIT], "file")
    incidents = sum(counts.incidents for counts in of_file.days)
    console.print(
        f"{region}: {len(of_file.days):,} days with {incidents:,} incidents added; {of_file.outside:,} of the file lie "
        "outside the grid; its first and last day may be partial and are left out"
    )
    if of_file.silent:
        console.print(f"left out, because nothing is recorded for too long: {', '.join(spans(of_file.silent))}")
    console.print(f"archive: {settings.archive}, version {table.version}")


def _run(settings: Settings, keep_days: int | None, console: Console) -> None:
    from lifecycle.archive.collect import archive_region, regions_of
    from lifecycle.archive.feed import FeedLog
    from models.artifact.artifact import read_spec  # torch: seconds that other commands save

    table = open_archive(settings)
    oldest = int(time.time()) // DAY_S - keep_days if keep_days else 0
    shown = _report_table()
    feed, faults = FeedLog(settings.checkpoint), list[RiskError]()
    for region, artifact in regions_of(settings.checkpoint).items():
        try:
            _add(shown, archive_region(table, feed, read_spec(artifact), oldest=oldest))
        except (ArtifactError, CheckpointError) as error:  # it must not keep the other regions from the archive
            shown.add_row(region, "failed")
            faults.append(error)
    console.print(shown)
    if keep_days:
        deleted = table.keep_from(oldest)
        console.print(f"{deleted:,} rows older than {keep_days} days deleted")
    console.print(f"archive: {settings.archive}, version {table.version}")
    if faults:
        raise faults[0]


def open_archive(settings: Settings) -> "ArchiveTable":
    from lifecycle.archive.table import ArchiveTable

    return ArchiveTable(settings.archive, settings.storage_options())


def _report_table() -> Table:
    shown = Table(box=None, pad_edge=False, caption=_MISSING)
    for name in ("region", "written", "incidents", "by hour only", "open", "days in all", "missing"):
        shown.add_column(name, justify="left" if name in ("region", "missing") else "right")
    return shown


def _add(shown: Table, done: "ArchivedRegion") -> None:
    numbers = (len(done.written), done.total("incidents"), done.total("by_hour"), done.total("open"), done.days)
    shown.add_row(done.region, *(f"{number:,}" for number in numbers), ", ".join(done.missing) or "none")

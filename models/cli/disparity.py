"""`python -m models disparity`: whether the groups of a file are served alike, on time that the model does not know."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from models.artifact.artifact import Artifact
from models.artifact.pointer import champion_of
from models.cli.options import DATA_OR_ARCHIVE_HELP, Artifacts, FileLayout, MasksFile, Region, refuse_unwritable
from models.cli.progress import progress_bars
from schemas.errors import SettingsError, needs_extra
from schemas.files import replace_file, write_errors
from schemas.spec import HOUR_S

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from models.evaluation.disparity.groups import Groups
    from models.evaluation.disparity.measure import GroupRow
    from models.evaluation.disparity.tally import GroupTally
    from models.training.replay import IncidentHistory


def disparity_command(
    region: Region,
    groups: Annotated[Path, typer.Option(help="CSV cell,group[,people], or GeoJSON of areas with a `group`")],
    data: Annotated[str, typer.Option(help=f"What came. {DATA_OR_ARCHIVE_HELP}")],
    layout: FileLayout = "",
    masks: MasksFile = None,
    artifacts: Artifacts = Path("data/artifacts"),
    top: Annotated[float, typer.Option(min=0.001, max=0.5, help="Share of the area that is put first")] = 0.05,
    out: Annotated[Path, typer.Option(help="Folder for the page, CSV and JSON")] = Path("out/disparity"),
) -> None:
    """Compare what groups of cells get from the forecasts, and what it costs them where these are wrong.

    The region's model forecasts all that the data have after its own end. Groups reach no artifact, frame or store.
    """
    with needs_extra("evaluate"):
        from models.evaluation.disparity.groups import read_groups
        from models.evaluation.disparity.measure import rows_of
        from models.evaluation.disparity.tally import tallies_of
        from models.evaluation.report.disparity import files_of
    artifact, console = champion_of(artifacts, region), Console(highlight=False)
    chosen = read_groups(groups, artifact.spec.grid)
    refuse_unwritable(out)
    past = _past_of(artifact, data, layout, masks)
    with progress_bars(["replay"], console, transient=True) as report:
        tallies = tallies_of(artifact, past, chosen, top, lambda share: report("replay", share))
    rows = rows_of(tallies, artifact.spec.categories)
    sentences = _sentences(artifact, past, tallies, chosen)
    _print(rows, sentences, console)
    with write_errors(SettingsError, f"--out {out}"):
        for name, content in files_of(rows, sentences).items():
            replace_file(out / name, content)
    console.print(f"every category: {out / 'index.html'}", soft_wrap=True)


def _sentences(
    artifact: Artifact, past: "IncidentHistory", tallies: "Mapping[str, GroupTally]", groups: "Groups"
) -> list[str]:
    """What the figures rest on."""
    first, last = (datetime.fromtimestamp(at_s, UTC) for at_s in (artifact.manifest.data.cutoff_s, past.cutoff_s))
    sentences = [
        f"{artifact.spec.region}, model {artifact.version}, {first:%Y-%m-%d} to {last:%Y-%m-%d} UTC, which it does not "
        f"know. Put first: {next(iter(tallies.values())).top} cells of those with any history. Shares are of "
        f"{'people living' if groups.has_people else 'cells'}; {(groups.of_cell < 0).sum()} cells are in no group."
    ]
    if missing := [name for name in artifact.spec.horizon_names if name not in tallies]:
        sentences.append(f"Too short for a forecast of {', '.join(missing)}.")
    return sentences


def _print(rows: "Sequence[GroupRow]", sentences: "Sequence[str]", console: Console) -> None:
    """The tables of all categories together."""
    from models.evaluation.report.disparity import HEADINGS, MEANING, NARROW, tables_of

    for sentence in sentences:
        console.print(Text(sentence), soft_wrap=True)
    for heading, texts in tables_of([row for row in rows if row.category == rows[0].category]):
        table = Table(HEADINGS[0], title=heading, title_justify="left", box=None, padding=(0, 0, 0, 1), pad_edge=False)
        columns = [number for number, name in enumerate(HEADINGS) if name not in NARROW]
        for number in columns[1:]:
            table.add_column(HEADINGS[number].replace(" / ", "/\n").replace(" ", "\n"), justify="right", no_wrap=True)
        for line in texts:
            table.add_row(*(Text(line[number]) for number in columns))
        console.print(table)
    for sentence in MEANING:
        console.print(Text(sentence, style="dim"), soft_wrap=True)


def _past_of(artifact: Artifact, data: str, layout: str, masks: Path | None) -> "IncidentHistory":
    """What came, until the end of the last whole hour, as the artifact counts it."""
    from models.training.region_spec import table_like
    from models.training.regions import RegionTask
    from models.training.replay import IncidentHistory
    from models.training.train_region import read_data

    spec = artifact.spec
    task = RegionTask(data=data, layout=layout, region=spec.region, merge=spec.merge, masks=str(masks or ""))
    incidents, _ = read_data(task, spec)
    end_s = (int(incidents.occurred_s[-1]) + 1) // HOUR_S * HOUR_S
    table = table_like(incidents, spec, region=spec.region, cutoff_s=end_s)
    return IncidentHistory.of(table, spec, end_s)

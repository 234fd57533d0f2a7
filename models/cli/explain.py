"""`python -m models explain`: the parts of the scores of one cell."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from models.artifact.artifact import Artifact
from models.artifact.pointer import champion_of
from models.cli.options import Artifacts, LayoutText
from models.counting.count_state import CountState
from models.files.cutoff import refuse_beyond
from models.files.incident_files import read_incidents
from models.files.layouts import parse_layout
from models.local_time import zone_of
from models.training.replay import IncidentHistory, Replay
from schemas.errors import DataError

if TYPE_CHECKING:  # torch takes seconds to import, and other commands do not need it
    from models.artifact.explanation import Explanation


def explain_command(
    region: Annotated[str, typer.Option(help="Region of the artifact")],
    cell: Annotated[str, typer.Option(help="Cell id as on the map: r012c034")],
    at: Annotated[str, typer.Option(help="Local time 2017-10-21T18:00; default: where the artifact's data end")] = "",
    artifacts: Artifacts = Path("data/artifacts"),
    data: Annotated[Path | None, typer.Option(help="Incident file from the end of the artifact's data on")] = None,
    layout: LayoutText = "",
) -> None:
    """Show the parts of each score: the cell's history, the hour, recent counts here and nearby, the network."""
    from models.artifact.explanation import explain

    artifact = champion_of(artifacts, region)
    place = artifact.spec.grid.index_of(cell)
    state = state_at(artifact, at, data, layout)
    console = Console(highlight=False)
    when = datetime.fromtimestamp(state.as_of_s, zone_of(artifact.spec.timezone)).strftime("%Y-%m-%d %H:%M")
    found = list(explain(artifact, state, place))
    console.print(f"{region}, cell {cell}, {when}, model {artifact.version}", soft_wrap=True)
    if artifact.network_fault:
        console.print(
            f"[yellow]warning:[/yellow] {escape(artifact.network_fault)}: the scores are those of the baseline",
            soft_wrap=True,
        )
    console.print("expected = the parts multiplied; below 1 a part makes the score smaller\n", soft_wrap=True)
    for category in artifact.spec.categories:
        console.print(_table(category, [one for one in found if one.category == category]))


def state_at(artifact: Artifact, at: str, data: Path | None, layout: str) -> CountState:
    state = artifact.history()
    if not at:
        if data or layout:
            raise DataError("--data and --layout without --at", "give --at, the time up to which they are counted")
        return state
    try:
        when = datetime.fromisoformat(at)
    except ValueError as error:
        raise DataError(f"--at {at}", remedy="write a local time like 2017-10-21T18:00") from error
    at_s = int((when if when.tzinfo else when.replace(tzinfo=zone_of(artifact.spec.timezone))).timestamp())
    if at_s < state.as_of_s:
        end = datetime.fromtimestamp(state.as_of_s, UTC)
        raise DataError(
            f"--at {at} lies before the end of the artifact's data, {end:%Y-%m-%dT%H:%M}Z", "give a later time"
        )
    if data is None or not layout:
        raise DataError("--at needs what happened since the end of the artifact's data", "give --data and --layout")
    incidents = read_incidents(data, parse_layout(layout))
    refuse_beyond(at_s, incidents, f"--at {at}")
    return Replay(IncidentHistory.of(incidents, artifact.spec, at_s), state=state).lead_to(at_s)


def _table(category: str, found: "list[Explanation]") -> Table:
    table = Table(title=category, title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("")
    for one in found:
        table.add_column(one.horizon, justify="right")
    for number, part in enumerate(found[0].parts):
        if number == 0:
            table.add_row(f"{part.name}, incidents", *(f"{one.parts[0].factor:.3g}" for one in found))
        else:
            table.add_row(f"x {part.name}", *(f"{one.parts[number].factor:.3f}" for one in found))
    table.add_row("[bold]expected[/bold]", *(f"[bold]{one.expected:.3g}[/bold]" for one in found))
    table.add_row("usual (without the network)", *(f"{one.usual:.3g}" for one in found))
    return table

"""`python -m models explain`: the parts of the scores of one cell."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from models.artifact.pointer import champion_of
from models.cli.options import Artifacts
from models.local_time import zone_of

if TYPE_CHECKING:  # torch takes seconds to import, and other commands do not need it
    from models.artifact.explanation import Explanation


def explain_command(
    region: Annotated[str, typer.Option(help="Region of the artifact")],
    cell: Annotated[str, typer.Option(help="Cell id as on the map: r012c034")],
    artifacts: Artifacts = Path("data/artifacts"),
) -> None:
    """Show the parts of each score where the model's data end: history, hour, recent counts, the network."""
    from models.artifact.explanation import explain

    artifact = champion_of(artifacts, region)
    place = artifact.spec.grid.index_of(cell)
    state = artifact.history()
    console = Console(highlight=False)
    when = datetime.fromtimestamp(state.as_of_s, zone_of(artifact.spec.timezone)).strftime("%Y-%m-%d %H:%M")
    explanations = list(explain(artifact, state, place))
    console.print(f"{region}, cell {cell}, {when}, model {artifact.version}", soft_wrap=True)
    if artifact.network_fault:
        console.print(
            f"[yellow]warning:[/yellow] {escape(artifact.network_fault)}: the scores are those of the baseline",
            soft_wrap=True,
        )
    console.print("expected = the parts multiplied; below 1 a part makes the score smaller\n", soft_wrap=True)
    for category in artifact.spec.categories:
        console.print(_table(category, [each for each in explanations if each.category == category]))


def _table(category: str, horizons: "list[Explanation]") -> Table:
    table = Table(title=category, title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("")
    for each in horizons:
        table.add_column(each.horizon, justify="right")
    for number, part in enumerate(horizons[0].parts):
        if number == 0:
            table.add_row(f"{part.name}, incidents", *(f"{each.parts[0].factor:.3g}" for each in horizons))
        else:
            table.add_row(f"x {part.name}", *(f"{each.parts[number].factor:.3f}" for each in horizons))
    table.add_row("[bold]expected[/bold]", *(f"[bold]{each.expected:.3g}[/bold]" for each in horizons))
    table.add_row("usual (without the network)", *(f"{each.usual:.3g}" for each in horizons))
    return table

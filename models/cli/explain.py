"""`python -m models explain`: the parts of the scores of one cell."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from models.artifact.pointer import champion_of
from models.baseline import Floats
from models.cli.options import Artifacts
from models.local_time import zone_of


def explain_command(
    region: Annotated[str, typer.Option(help="Region of the artifact")],
    cell: Annotated[str, typer.Option(help="Cell id as on the map: r012c034")],
    artifacts: Artifacts = Path("data/artifacts"),
) -> None:
    """Show the parts of each score where the model's data end: history, hour, recent counts, the network."""
    from models.artifact.explanation import explain  # torch takes seconds to import, and other commands do not need it

    artifact = champion_of(artifacts, region)
    place = artifact.spec.grid.index_of(cell)
    state = artifact.history()
    console = Console(highlight=False)
    when = datetime.fromtimestamp(state.as_of_s, zone_of(artifact.spec.timezone)).strftime("%Y-%m-%d %H:%M")
    parts, usual = explain(artifact, state, place)
    console.print(f"{region}, cell {cell}, {when}, model {artifact.version}", soft_wrap=True)
    if artifact.network_fault:
        console.print(
            f"[yellow]warning:[/yellow] {escape(artifact.network_fault)}: the scores are those of the baseline",
            soft_wrap=True,
        )
    console.print("expected = the parts multiplied; below 1 a part makes the score smaller\n", soft_wrap=True)
    for number, category in enumerate(artifact.spec.categories):
        factors = {name: np.exp(log[number]) for name, log in parts.items()}
        console.print(_table(category, artifact.spec.horizon_names, factors, np.exp(usual[number])))


def _table(category: str, horizons: Sequence[str], factors: Mapping[str, Floats], usual: Floats) -> Table:
    """factors: (horizons,) of each part, whose product is expected."""
    table = Table("", title=category, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for horizon in horizons:
        table.add_column(horizon, justify="right")
    (rate, incidents), *others = factors.items()
    table.add_row(f"{rate}, incidents", *(f"{number:.3g}" for number in incidents))
    for name, of_part in others:
        table.add_row(f"x {name}", *(f"{factor:.3f}" for factor in of_part))
    expected = np.prod([*factors.values()], axis=0)
    table.add_row("[bold]expected[/bold]", *(f"[bold]{number:.3g}[/bold]" for number in expected))
    table.add_row("usual (without the network)", *(f"{number:.3g}" for number in usual))
    return table

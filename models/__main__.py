"""`python -m models train`: from an incident file to an artifact."""

import hashlib
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from models.artifact import write_artifact
from models.card import card_text
from models.commands_evaluate import evaluate_command
from models.commands_explain import explain_command
from models.commands_tune import tune_command
from models.cutoff import UNTIL_HELP, cutoff_of
from models.data_report import rows_seen, thin_categories
from models.evaluate import Row
from models.fit_baseline import Blocks
from models.incident_files import read_incidents
from models.layouts import LAYOUT_HELP, parse_layout
from models.manifest import DataSource
from models.recipe import DEFAULT, read_recipe
from models.train import spec_for, train
from schemas.errors import RiskError

LIBRARIES = ("numpy", "torch", "safetensors", "msgspec")

app = typer.Typer(
    help="Train and evaluate models of incident risk.", pretty_exceptions_enable=False, add_completion=False
)
app.command("evaluate")(evaluate_command)
app.command("explain")(explain_command)
app.command("tune")(tune_command)


@app.command("train")
def train_command(
    data: Annotated[Path, typer.Option(help="Incident file: .csv, .csv.gz, or .zip with one .csv")],
    layout: Annotated[str, typer.Option(help=LAYOUT_HELP)],
    region: Annotated[str, typer.Option(help="Region's slug: a-z, 0-9, - and _")],
    cell_m: Annotated[float, typer.Option(help="Side of a cell, metres")] = 1000.0,
    out: Annotated[Path, typer.Option(help="Folder of artifacts")] = Path("data/artifacts"),
    until: Annotated[str, typer.Option(help=UNTIL_HELP)] = "none",
    seed: Annotated[int, typer.Option(help="Equal seeds give equal models")] = 0,
    epochs: Annotated[int, typer.Option(min=1, help="Most passes over the training examples")] = 12,
    step_minutes: Annotated[int, typer.Option(min=5, help="Mean time between two training moments")] = 180,
    recipe: Annotated[
        Path | None, typer.Option(help="recipe.json of `python -m models tune`; without it, the default recipe")
    ] = None,
) -> None:
    """Train on a file of incidents and publish the artifact."""
    torch.set_num_threads(1)  # equal seeds give equal weights, however many cores there are
    console = Console()
    chosen = read_recipe(recipe) if recipe else DEFAULT
    incidents = read_incidents(data, parse_layout(layout))
    cutoff_s = cutoff_of(until, incidents)
    spec = spec_for(incidents, region=region, cell_m=cell_m, cutoff_s=cutoff_s)
    console.print(f"{len(incidents):,} incidents, {spec.grid.rows} x {spec.grid.cols} cells of {cell_m:.0f} m")
    for line in rows_seen(incidents, spec.grid):
        console.print(f"{line.rows:>12,}  {line.what}: {line.decision}", highlight=False)
    if warning := thin_categories(incidents, Blocks.of(int(incidents.occurred_s[0]), cutoff_s).validation_s):
        console.print(f"[yellow]warning:[/yellow] {escape(warning)}", soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bars = {name: progress.add_task(name, total=1.0) for name in ("baseline", "replay", "network")}

        def tell(what: str, share: float) -> None:
            progress.update(bars[what.partition(":")[0]], description=what, completed=share)

        trained = train(
            incidents,
            spec,
            cutoff_s=cutoff_s,
            step_s=60 * step_minutes,
            epochs=epochs,
            seed=seed,
            tell=tell,
            recipe=chosen,
        )
    folder = write_artifact(
        out,
        spec=spec,
        constants=trained.constants,
        network=trained.network,
        history=trained.history,
        card=card_text(trained, layout=incidents.layout),
        data=DataSource(
            file_name=data.name,
            sha256=hashlib.sha256(data.read_bytes()).hexdigest(),
            layout=incidents.layout,
            incidents=len(trained.story.incidents),
            first_s=trained.story.first_s,
            cutoff_s=cutoff_s,
        ),
        created=datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ"),
        seed=seed,
        libraries={name: version(name) for name in LIBRARIES},
        evaluation=[asdict(row) for row in trained.rows],
    )
    console.print(_table(trained.rows))
    console.print(f"artifact: {folder}", soft_wrap=True)


def _table(rows: list[Row]) -> Table:
    shown = Table(
        title="last block of time, all cells: baseline → network (f/a: forecast over actual)",
        box=None,
        padding=(0, 0, 0, 1),
    )
    for name in ("", "deviance", "log score", "difference (95 %)", "f/a", "verdict"):
        shown.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        shown.add_row(
            row.horizon,
            f"{row.baseline_deviance:.4f}→{row.network_deviance:.4f}",
            f"{row.baseline_log_score:.5f}→{row.network_log_score:.5f}",
            row.difference_text(),
            f"{row.forecast_over_actual:.3f}",
            row.verdict,
        )
    return shown


def main() -> None:
    """Run a command; a RiskError becomes one line and its exit code."""
    try:
        app()
    except RiskError as error:
        Console(stderr=True).print(f"[bold]error:[/bold] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()

"""`python -m models train` and `train-regions`: from incident files to artifacts."""

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from models.artifact.artifact import check_writable
from models.files.cutoff import UNTIL_HELP
from models.files.data_report import in_words, row_counts
from models.files.layouts import LAYOUT_HELP
from models.networks import MODELS
from models.training.device import DEVICE_HELP, device_of
from models.training.fit_network import Fit, fit_network
from models.training.over_spark import executors, fit_spread, side_by_side
from models.training.regions import DEFAULT_CELL_M, RegionTask, read_regions
from models.training.train_region import PreparedTask, prepare, train_in_task, train_region
from models.training.training_table import HorizonResult
from schemas.errors import DataError, SettingsError

NETWORK_HELP = f"Kind of network: {', '.join(MODELS)}; without it, the recipe's"
MASTER_HELP = "Spark master, such as spark://host:7077; without it, local[WORKERS]"
LOG = "training-spark.log"


def train_command(
    data: Annotated[Path, typer.Option(help="Incident file: .csv, .csv.gz, or .zip with one .csv")],
    layout: Annotated[str, typer.Option(help=LAYOUT_HELP)],
    region: Annotated[str, typer.Option(help="Region's slug: a-z, 0-9, - and _")],
    cell_m: Annotated[float, typer.Option(help="Side of a cell, metres")] = DEFAULT_CELL_M,
    like: Annotated[
        Path | None,
        typer.Option(help="An artifact's folder: keep its grid, for a job that runs"),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of artifacts; with --workers, one that all workers see")] = Path(
        "data/artifacts"
    ),
    until: Annotated[str, typer.Option(help=UNTIL_HELP)] = "none",
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal models")] = 0,
    epochs: Annotated[int, typer.Option(min=1, help="Most passes over the training examples")] = 12,
    step_minutes: Annotated[int, typer.Option(min=5, help="Mean time between two training moments")] = 180,
    recipe: Annotated[
        Path | None, typer.Option(help="recipe.json of `python -m models tune`; without it, the default recipe")
    ] = None,
    network: Annotated[str, typer.Option(help=NETWORK_HELP)] = "",
    workers: Annotated[
        int, typer.Option(min=1, help="Processes that fit the network; more than one are executors of Spark")
    ] = 1,
    master: Annotated[str, typer.Option(help=MASTER_HELP)] = "",
    device: Annotated[str, typer.Option(help=DEVICE_HELP)] = "auto",
) -> None:
    """Train on a file of incidents and publish the artifact."""
    if master and workers == 1:
        raise SettingsError(f"--master {master}: one worker needs no Spark; leave it out, or give --workers")
    where = device_of(device, workers=workers)
    check_writable(out)
    console = Console()
    ready = prepare(
        RegionTask(
            data=str(data),
            layout=layout,
            region=region,
            cell_m=cell_m,
            like=str(like) if like else "",
            until=until,
            seed=seed,
            epochs=epochs,
            step_minutes=step_minutes,
            recipe=str(recipe) if recipe else "",
            network=network,
        )
    )
    _say(ready, console)
    with ExitStack() as stack:
        fit: Fit = partial(fit_network, device=where)
        if workers > 1:
            log = out / LOG
            session = stack.enter_context(executors(master or f"local[{workers}]", log))
            fit = partial(fit_spread, session=session, workers=workers, shared=out, log=log)
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        progress = stack.enter_context(Progress(*columns, console=console))
        bars = {name: progress.add_task(name, total=1.0) for name in ("baseline", "replay", "network")}

        def tell(what: str, share: float) -> None:
            progress.update(bars[what.partition(":")[0]], description=what, completed=share)

        folder, rows = train_region(ready, out, fit=fit, workers=workers, device=where, tell=tell)
    console.print(_table(rows))
    console.print(f"artifact: {folder}", soft_wrap=True)


def train_regions_command(
    file: Annotated[
        Path, typer.Argument(help="TOML: the list `regions`, each a table by the names of train's options")
    ],
    out: Annotated[Path, typer.Option(help="Folder of artifacts; one that all workers see")] = Path("data/artifacts"),
    workers: Annotated[int, typer.Option(min=1, help="Regions at once, each in a task of Spark")] = 1,
    master: Annotated[str, typer.Option(help=MASTER_HELP)] = "",
) -> None:
    """Train many regions side by side over Spark, each as `train` would; one that fails does not stop the others."""
    console = Console(highlight=False)
    tasks = read_regions(file)
    check_writable(out)
    works = [(task, out.resolve()) for task in tasks]
    log, faults = out / LOG, dict[str, str]()
    with executors(master or f"local[{workers}]", log) as session:
        console.print(f"{len(tasks)} regions, {workers} at once")
        for (task, _), ended in side_by_side(session, train_in_task, works, workers=workers, log=log):
            if ended is None or ended.fault:
                fault = ended.fault if ended and ended.fault else f"its task did not come to an end: see {log}"
                faults[task.region] = fault
                console.print(f"[red]{task.region}:[/red] {escape(fault)}", soft_wrap=True)
                continue
            for warning in ended.warnings:
                console.print(f"[yellow]{task.region}:[/yellow] {escape(warning)}", soft_wrap=True)
            console.print(_table(list(ended.rows)))
            console.print(f"{task.region}: {ended.folder}", soft_wrap=True)
    if faults:
        listed = "; ".join(f"{region}: {fault}" for region, fault in sorted(faults.items()))
        raise DataError(f"{len(faults)} of {len(tasks)} regions have no new artifact: {listed}")


def _say(ready: PreparedTask, console: Console) -> None:
    grid = ready.spec.grid
    lat, lon = grid.corners()
    console.print(
        f"{len(ready.incidents):,} incidents, {grid.rows} x {grid.cols} cells of {grid.cell_m:.0f} m, latitude "
        f"{lat.min():.3f} to {lat.max():.3f}, longitude {lon.min():.3f} to {lon.max():.3f}",
        soft_wrap=True,
    )
    for line in in_words(row_counts(ready.incidents, grid)):
        console.print(escape(line), highlight=False, soft_wrap=True)
    for warning in ready.warnings:
        console.print(f"[yellow]warning:[/yellow] {escape(warning)}", soft_wrap=True)


def _table(rows: list[HorizonResult]) -> Table:
    shown = Table(
        title="last block of time, all cells: baseline → network",
        caption="Means of cells, categories and moments; log score in nats, less is better. Difference: of the log "
        "score, in percent of the baseline's. f/a: forecast over actual",
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

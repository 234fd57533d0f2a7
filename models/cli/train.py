"""`python -m models train` and `train-regions`: from incident files to artifacts."""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from models.artifact.artifact import check_writable
from models.cli.options import (
    CellSide,
    CovariateAge,
    Covariates,
    Epochs,
    FileLayout,
    FileOrArchive,
    Holidays,
    Master,
    MergeCalls,
    MissingDays,
    RecipeFile,
    Region,
    Seed,
    SharedArtifacts,
    StepMinutes,
    Until,
)
from models.cli.progress import print_file, progress_bars
from models.files.data_report import row_counts
from models.networks import MODELS
from models.training.regions import DEFAULT_CELL_M, RegionTask, read_regions
from schemas.errors import DataError, SettingsError

if TYPE_CHECKING:  # as the imports inside the functions: torch takes seconds, and other commands do not need it
    from models.training.fit_network import Fit
    from models.training.train_region import PreparedTask
    from models.training.training_table import HorizonResult

LOG = "training-spark.log"
DEVICE_HELP = "auto: a GPU if there is one; cpu; cuda. Equal seeds give equal models on the CPU only"


# Typer reads a command's options from its parameters, and a command reads from top to bottom.
def train_command(
    data: FileOrArchive,
    region: Region,
    layout: FileLayout = "",
    cell_m: CellSide = DEFAULT_CELL_M,
    like: Annotated[
        Path | None,
        typer.Option(help="Folder of an artifact: keep its grid, so that a running job can use the new one"),
    ] = None,
    out: SharedArtifacts = Path("data/artifacts"),
    until: Until = "none",
    seed: Seed = 0,
    epochs: Epochs = 12,
    step_minutes: StepMinutes = 180,
    recipe: RecipeFile = None,
    network: Annotated[str, typer.Option(help=f"Kind of network: {', '.join(MODELS)}; without it, the recipe's")] = "",
    workers: Annotated[int, typer.Option(min=1, help="Processes that fit the network; several run in Spark")] = 1,
    master: Master = "",
    device: Annotated[str, typer.Option(help=DEVICE_HELP)] = "auto",
    missing_days: MissingDays = 0,
    holidays: Holidays = "",
    covariates: Covariates = "",
    covariate_max_age_hours: CovariateAge = 24,
    merge: MergeCalls = False,
) -> None:
    """Train on a file of incidents and publish the artifact."""
    from models.training.fit_network import fit_network
    from models.training.over_spark import executors, fit_spread
    from models.training.train_region import prepare, train_region

    if master and workers == 1:
        raise SettingsError(f"--master {master}, but one worker needs no Spark", "leave it out, or give --workers")
    where = device_of(device, workers=workers)
    check_writable(out)
    console = Console()
    task = RegionTask(
        data=data,
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
        missing_days=missing_days,
        holidays=holidays,
        covariates=covariates,
        covariate_max_age_hours=covariate_max_age_hours,
        merge="repeated_calls" if merge else "none",
    )
    ready = prepare(task)
    _describe(ready, console)
    with ExitStack() as stack:
        fit: Fit = partial(fit_network, device=where)
        if workers > 1:
            stack.enter_context(executors(master or f"local[{workers}]", out / LOG))
            fit = partial(fit_spread, workers=workers, log=out / LOG)
        report = stack.enter_context(progress_bars(("baseline", "replay", "network", "on all data"), console))
        folder, results = train_region(ready, out, report=report, fit=fit, workers=workers, device=where)
    _print_results(results, console)
    console.print(f"artifact: {folder}", soft_wrap=True)


def train_regions_command(
    file: Annotated[
        Path, typer.Argument(help="TOML file with a table [[regions]] for each region; its keys are train's options")
    ],
    out: SharedArtifacts = Path("data/artifacts"),
    workers: Annotated[int, typer.Option(min=1, help="Regions at the same time, each in a task of Spark")] = 1,
    master: Master = "",
) -> None:
    """Train many regions side by side in Spark, each as `train` does; one that fails does not stop the others."""
    from models.training.over_spark import executors, side_by_side
    from models.training.train_region import train_in_task

    console = Console(highlight=False)
    tasks = read_regions(file)
    check_writable(out)
    work = [(task, out.resolve()) for task in tasks]
    log, faults = out / LOG, dict[str, str]()
    with executors(master or f"local[{workers}]", log) as session:
        console.print(f"{len(tasks)} regions, {workers} at the same time")
        for (task, _), result in side_by_side(session, train_in_task, work, workers=workers, log=log):
            if result is None or result.fault:
                fault = result.fault if result and result.fault else f"its task did not end; see {log}"
                faults[task.region] = fault
                console.print(f"[red]{task.region}:[/red] {escape(fault)}", soft_wrap=True)
                continue
            for warning in result.warnings:
                console.print(f"[yellow]{task.region}:[/yellow] {escape(warning)}", soft_wrap=True)
            _print_results(result.rows, console)
            console.print(f"{task.region}: {result.folder}", soft_wrap=True)
    if faults:
        listed = "; ".join(f"{region}: {fault}" for region, fault in sorted(faults.items()))
        raise DataError(f"{len(faults)} of {len(tasks)} regions have no new artifact: {listed}")


def device_of(asked: str, *, workers: int) -> str:
    """`cpu` or `cuda`, for a fit by `workers` processes. Raises SettingsError when it is not possible."""
    import torch

    if asked not in ("auto", "cpu", "cuda"):
        raise SettingsError(f"--device {asked} is unknown", remedy="choose auto, cpu or cuda")
    if asked == "cuda" and workers > 1:
        raise SettingsError(f"--device cuda with --workers {workers}: workers use CPUs", "leave out one of the two")
    if asked == "cuda" and not torch.cuda.is_available():
        raise SettingsError(
            f"--device cuda: torch {torch.__version__} finds no GPU here",
            remedy="give --device cpu, or install the driver and a torch that is built for CUDA",
        )
    return "cuda" if asked != "cpu" and workers == 1 and torch.cuda.is_available() else "cpu"


def _describe(ready: "PreparedTask", console: Console) -> None:
    grid = ready.spec.grid
    lat, lon = grid.corners()
    console.print(
        f"{len(ready.counted):,} incidents, {grid.rows} x {grid.cols} cells of {grid.cell_m:.0f} m, latitude "
        f"{lat.min():.3f} to {lat.max():.3f}, longitude {lon.min():.3f} to {lon.max():.3f}",
        soft_wrap=True,
    )
    print_file(row_counts(ready.counted, grid), ready.warnings, console)


def _print_results(rows: "Sequence[HorizonResult]", console: Console) -> None:
    from models.training.training_table import remarks

    console.print(_table(rows))
    for remark in remarks(rows):
        console.print(f"[yellow]note:[/yellow] {remark}", soft_wrap=True, highlight=False)


def _table(rows: "Sequence[HorizonResult]") -> Table:
    shown = Table(
        title="last block of time, all cells: baseline → network",
        caption="Means over cells, categories and moments; log score in nats, smaller is better. Difference of the log "
        "scores, in percent of the baseline's. f/a: forecast over actual",
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

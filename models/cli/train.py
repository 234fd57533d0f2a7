"""`python -m models train`: from incident files to artifacts."""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from models.artifact.writing import check_writable
from models.cli.options import DATA_OR_ARCHIVE_HELP, CellSide, FileLayout, Master, SharedArtifacts, TaskFile, Until
from models.cli.progress import print_file, progress_bars
from models.files.data_report import row_counts
from models.training.regions import DEFAULT_CELL_M, RegionTask, read_regions
from schemas.errors import DataError, SettingsError

if TYPE_CHECKING:  # as the imports inside the functions: torch takes seconds, and other commands do not need it
    from models.training.fit_network import Fit
    from models.training.train_region import PreparedTask
    from models.training.training_table import HorizonResult

LOG = "training-spark.log"


def train_command(
    file: TaskFile = None,
    data: Annotated[str, typer.Option(help=f"In place of FILE: {DATA_OR_ARCHIVE_HELP}")] = "",
    layout: FileLayout = "",
    region: Annotated[str, typer.Option(help="In place of FILE: name of the region, of a-z, 0-9, - and _")] = "",
    cell_m: CellSide = DEFAULT_CELL_M,
    like: Annotated[
        Path | None,
        typer.Option(help="Folder of an artifact: keep its grid, so that a running job can use the new one"),
    ] = None,
    bounds: Annotated[str, typer.Option(help="south,west,north,east in degrees: places beyond make no grid")] = "",
    until: Until = "none",
    out: SharedArtifacts = Path("data/artifacts"),
    workers: Annotated[
        int, typer.Option(min=1, help="Processes in Spark: they fit the network together, or a region of FILE each")
    ] = 1,
    master: Master = "",
) -> None:
    """Train on a file of incidents and publish the artifact.

    What is asked for stands in FILE, with a table for each region, or in --data, --region and the options after them.
    Several regions are trained side by side in Spark; one that fails does not stop the others.
    """
    if file is None and not (data and region):
        raise SettingsError("nothing to train on", "give a file of tasks, or --data, --layout and --region")
    if file and (data or layout or region or like or bounds or until != "none" or cell_m != DEFAULT_CELL_M):
        raise SettingsError(f"{file} and options of one region", f"write the options into {file}")
    if file:
        first, *others = read_regions(file)
    else:
        others, folder = [], str(like or "")
        first = RegionTask(
            data=data, layout=layout, region=region, cell_m=cell_m, like=folder, bounds=bounds, until=until
        )
    if others:
        _train_side_by_side([first, *others], out, workers=workers, master=master)
    else:
        _train_one(first, out, workers=workers, master=master)


def _train_one(task: RegionTask, out: Path, *, workers: int, master: str) -> None:
    import torch

    from models.training.fit_network import fit_network
    from models.training.over_spark import executors, fit_spread
    from models.training.train_region import prepare, train_region

    if master and workers == 1:
        raise SettingsError(f"--master {master}, but one worker needs no Spark", "leave it out, or give --workers")
    device = "cuda" if workers == 1 and torch.cuda.is_available() else "cpu"
    check_writable(out)
    console = Console()
    ready = prepare(task)
    _describe(ready, console)
    with ExitStack() as stack:
        fit: Fit = partial(fit_network, device=device)
        if workers > 1:
            stack.enter_context(executors(master or f"local[{workers}]", out / LOG))
            fit = partial(fit_spread, workers=workers, log=out / LOG)
        report = stack.enter_context(progress_bars(("baseline", "replay", "network", "on all data"), console))
        folder, results = train_region(ready, out, report=report, fit=fit, workers=workers, device=device)
    _print_results(results, console)
    console.print(f"artifact: {folder}", soft_wrap=True)


def _train_side_by_side(tasks: "Sequence[RegionTask]", out: Path, *, workers: int, master: str) -> None:
    from models.training.over_spark import executors, side_by_side
    from models.training.train_region import train_in_task

    console = Console(highlight=False)
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

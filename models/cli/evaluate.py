"""`python -m models evaluate`: the network beside its simple rivals, on a block of time that no choice has used."""

import time
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from models.artifact.folders import make_writable
from models.cli.options import (
    DATA_OR_ARCHIVE_HELP,
    CellSide,
    CovariateAge,
    Covariates,
    Holidays,
    LayoutText,
    MissingDays,
    RecipeFile,
)
from models.cli.progress import print_file, progress_bars
from models.evaluation.tasks import TASKS, FileOptions, Task, task_of_archive, task_of_file
from models.files.archive import Archived, is_archive, read_archive
from models.files.data_report import data_warnings
from models.files.layouts import parse_layout
from models.hyperparameters import DEFAULT, read_recipe
from models.networks import MODELS, kind_of_network
from models.training.holiday_days import holiday_days
from models.training.outside_series import OutsideSeries, missing_warnings
from models.training.regions import DEFAULT_CELL_M
from schemas.errors import DataError, SettingsError, not_installed
from schemas.files import write_errors
from schemas.untrusted_bytes import sha256

if TYPE_CHECKING:
    from models.evaluation.contract import Regression

LIBRARIES = ("numpy", "torch", "scipy", "scikit-learn", "scoringrules", "pyspark")
BARS = ("counting", "replay", "fitting", "judging")


# Typer reads a command's options from its parameters, and a command reads from top to bottom.
def evaluate_command(
    out: Annotated[Path, typer.Option(help="Folder for evaluation.json, pictures and the page")],
    task: Annotated[str, typer.Option(help="One of the named tasks; without it, --data is judged")] = "",
    data: Annotated[str, typer.Option(help=f"{DATA_OR_ARCHIVE_HELP}; a task has its own in ../shared/data")] = "",
    layout: LayoutText = "",
    cell_m: CellSide = DEFAULT_CELL_M,
    step: Annotated[str, typer.Option(help="How far ahead a forecast goes: hour, 4h or day")] = "hour",
    seeds: Annotated[int, typer.Option(min=1, help="Networks to train; the table shows their mean")] = 5,
    origins: Annotated[int, typer.Option(min=1, help="Blocks of time to judge; models are fitted for each")] = 1,
    purge_steps: Annotated[
        int, typer.Option(min=0, help="Steps to leave out before the judged ones, in addition to one and the delay")
    ] = 0,
    recipe: RecipeFile = None,
    network: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Kind of network: {', '.join(MODELS)}; may be given several times, the first is reported on"
        ),
    ] = None,
    delay_steps: Annotated[int, typer.Option(min=0, help="Steps until an incident is known")] = 0,
    merge_repeated: Annotated[
        bool, typer.Option("--merge-repeated", help="With --data: count calls within 200 m and 15 min once")
    ] = False,
    holidays: Holidays = "",
    covariates: Covariates = "",
    covariate_max_age_hours: CovariateAge = 24,
    region: Annotated[str, typer.Option(help="Of --covariates, or of an archive of several regions: which one")] = "",
    missing_days: MissingDays = 0,
    forest: Annotated[bool, typer.Option(help="Also Spark MLlib's random forest, which needs Java")] = True,
) -> None:
    """Judge the network and its simple rivals, in one table, on the last block of time.

    Named tasks: chicago-3km-daily, chicago-1km-hourly, montgomery-2km-hourly.
    """
    import torch

    try:
        from models.evaluation.evaluate import evaluate_rolling
        from models.evaluation.plan import EvaluationPlan
        from models.evaluation.product import spec_of
        from models.evaluation.report.page import write_report
        from models.evaluation.report.table import print_table
    except ModuleNotFoundError as error:
        raise not_installed(error, "evaluate") from error
    torch.set_num_threads(1)  # equal seeds give equal weights, however many cores there are
    console = Console()
    if recipe and origins > 1:
        raise SettingsError("--recipe with --origins: the earlier blocks chose the recipe", "give one of the two")
    if task and merge_repeated:
        raise SettingsError(
            "--merge-repeated with --task: the named tasks count every call", "judge the file by --data"
        )
    hyperparameters = read_recipe(recipe).recipe if recipe else DEFAULT
    kinds = tuple(dict.fromkeys(network or [hyperparameters.network]))
    for kind in kinds:
        kind_of_network(kind)
    options = FileOptions(cell_m=cell_m, step=step, origins=origins, merge_repeated=merge_repeated)
    if is_archive(data):
        chosen = _task_of_archive(read_archive(data, region=region, may_miss=missing_days), task, options)
    else:
        chosen = _named_task(task, data) if task else _task_of_file(data, layout, options)
    holiday_days(holidays, *chosen.cube.starts_s[[0, -1]].tolist())  # refused before hours of work
    chosen = replace(chosen, holidays=holidays)
    if covariates and not region:
        raise SettingsError(f"--covariates {covariates} without --region", "name the region whose rows are meant")
    if covariates:
        series = OutsideSeries.read(Path(covariates), region, max_age_hours=covariate_max_age_hours)
        chosen = replace(chosen, covariates=series)
    with write_errors(SettingsError, f"--out {out}", remedy="name another folder"):
        make_writable(out)  # before hours of work
    starts_s = chosen.cube.starts_s
    warnings = data_warnings(chosen.incidents, int(starts_s[chosen.validation]), step_s=chosen.step_s)
    warnings = (*warnings, *missing_warnings(chosen.covariates, spec_of(chosen), int(starts_s[0]), int(starts_s[-1])))
    print_file(chosen.row_counts, warnings, console)
    with progress_bars(BARS, console, transient=True) as report:
        plan = EvaluationPlan(
            regressions=_regressions(out, forest=forest),
            seeds=range(seeds),
            purge=1 + delay_steps + purge_steps,
            delay=delay_steps,
            recipe=hyperparameters,
            networks=kinds,
            tell=report,
        )
        versions = {name: version(name) for name in LIBRARIES}
        evaluation = evaluate_rolling(chosen, plan, origins=origins, now=datetime.now(UTC), versions=versions)
    print_table(evaluation, console)  # first, so that hours of work can be read even if a file cannot be written
    page = write_report(evaluation, out)
    console.print(f"report: {page}", soft_wrap=True)


def _task_of_archive(archived: Archived, task: str, options: FileOptions) -> Task:
    if task or options.merge_repeated:
        raise SettingsError("an archive with --task or --merge-repeated: it has no calls", "leave them out")
    if options.cell_m not in (DEFAULT_CELL_M, archived.meaning.grid.cell_m):
        raise DataError(
            f"--cell-m is {options.cell_m:g} m, and the archive has {archived.meaning.grid.cell_m:g} m",
            remedy="leave it out",
        )
    return task_of_archive(archived, options)


def _named_task(name: str, data: str) -> Task:
    if name not in TASKS:
        raise DataError(f"--task {name} is unknown", remedy=f"choose one of {', '.join(TASKS)}")
    read, usual_place = TASKS[name]
    path = Path(data) if data else usual_place
    return _with_source(read(path), path)


def _task_of_file(data: str, layout: str, options: FileOptions) -> Task:
    if not data or not layout:
        raise DataError("no data to judge", remedy="give --task, or --data and --layout")
    path = Path(data)
    return _with_source(task_of_file(path, parse_layout(layout), options, now_s=time.time()), path)


def _with_source(task: Task, path: Path) -> Task:
    return replace(task, data_file=path.name, data_sha256=sha256(path.read_bytes()))


def _regressions(out: Path, *, forest: bool) -> list["Regression"]:
    from models.evaluation.regressions import REGRESSIONS

    regressions: list[Regression] = [*REGRESSIONS]
    if forest:
        from models.evaluation.regressions.random_forest import RandomForest, spark

        regressions.append(RandomForest(session=partial(spark, out / "spark.log")))
    return regressions

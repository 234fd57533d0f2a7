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

from models.artifact.artifact import read_spec
from models.artifact.folders import make_writable
from models.cli.options import TASK_FILE_HELP
from models.cli.progress import print_file, progress_bars
from models.evaluation.tasks import TASKS, FileOptions, Task, task_of_archive, task_of_file
from models.files.archive import ArchivedDays, is_archive, read_archive
from models.files.data_report import data_warnings
from models.files.layouts import parse_layout
from models.hyperparameters import DEFAULT, read_recipe
from models.networks import MODELS, kind_of_network
from models.training.holiday_days import holiday_days
from models.training.outside_series import OutsideSeries, missing_warnings
from models.training.regions import DEFAULT_CELL_M, RegionTask, task_for
from schemas.errors import DataError, SettingsError, not_installed
from schemas.files import sha256, write_errors

if TYPE_CHECKING:
    from models.evaluation.contract import Regression

LIBRARIES = ("numpy", "torch", "scipy", "scikit-learn", "scoringrules", "pyspark")
BARS = ("counting", "replay", "fitting", "judging")


# Typer reads a command's options from its parameters.
def evaluate_command(
    what: Annotated[str, typer.Argument(help=f"A named task, or of your own data: {TASK_FILE_HELP}, or archive:PATH")],
    out: Annotated[Path, typer.Option(help="Folder for evaluation.json, pictures and the page")],
    region: Annotated[str, typer.Option(help="Of a file or an archive of several regions: which one")] = "",
    step: Annotated[str, typer.Option(help="How far ahead a forecast goes: hour, 4h or day")] = "hour",
    seeds: Annotated[int, typer.Option(min=1, help="Networks to train; the table shows their mean")] = 5,
    origins: Annotated[int, typer.Option(min=1, help="Blocks of time to judge; models are fitted for each")] = 1,
    network: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Kind of network: {', '.join(MODELS)}; may be given several times, the first is reported on"
        ),
    ] = None,
    delay_steps: Annotated[int, typer.Option(min=0, help="Steps until an incident is known")] = 0,
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
    asked = None if what in TASKS else task_for(what, region)
    if asked and asked.recipe and origins > 1:
        raise SettingsError(
            f"a recipe in {what}, and --origins: the earlier blocks chose it", "leave out one of the two"
        )
    hyperparameters = read_recipe(Path(asked.recipe)).recipe if asked and asked.recipe else DEFAULT
    named = asked.network if asked else ""
    kinds = tuple(dict.fromkeys(network or [named or hyperparameters.network]))
    for kind in kinds:
        kind_of_network(kind)
    chosen = _task_of(asked, step=step, origins=origins) if asked else _named_task(what)
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
            purge=1 + delay_steps,
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


def _named_task(name: str) -> Task:
    read, path = TASKS[name]
    return _with_source(read(path), path)


def _task_of(asked: RegionTask, *, step: str, origins: int) -> Task:
    """What is judged of a region's data. Raises DataError when they cannot be used as asked."""
    options = FileOptions(
        cell_m=asked.cell_m,
        step=step,
        origins=origins,
        merge_repeated=asked.merge == "repeated_calls",
        until=asked.until,
        grid=read_spec(Path(asked.like)).grid if asked.like else None,
    )
    if is_archive(asked.data):
        task = _task_of_archive(read_archive(asked.data, region=asked.region, may_miss=asked.missing_days), options)
    else:
        path = Path(asked.data)
        task = _with_source(task_of_file(path, parse_layout(asked.layout), options, now_s=time.time()), path)
    holiday_days(asked.holidays, *task.cube.starts_s[[0, -1]].tolist())  # refused before hours of work
    series = OutsideSeries()
    if asked.covariates:
        age_hours = asked.covariate_max_age_hours
        series = OutsideSeries.read(Path(asked.covariates), asked.region, max_age_hours=age_hours)
    return replace(task, holidays=asked.holidays, covariates=series)


def _task_of_archive(archived: ArchivedDays, options: FileOptions) -> Task:
    if options.merge_repeated:
        raise SettingsError("an archive, and merge: it has no calls to merge", "leave it out")
    if options.cell_m not in (DEFAULT_CELL_M, archived.meaning.grid.cell_m):
        raise DataError(
            f"a cell side of {options.cell_m:g} m is asked for, and the archive has {archived.meaning.grid.cell_m:g} m",
            remedy="leave it out",
        )
    return task_of_archive(archived, options)


def _with_source(task: Task, path: Path) -> Task:
    return replace(task, data_file=path.name, data_sha256=sha256(path.read_bytes()))


def _regressions(out: Path, *, forest: bool) -> list["Regression"]:
    from models.evaluation.regressions import REGRESSIONS

    regressions: list[Regression] = [*REGRESSIONS]
    if forest:
        from models.evaluation.regressions.random_forest import RandomForest, spark

        regressions.append(RandomForest(session=partial(spark, out / "spark.log")))
    return regressions

"""`python -m models evaluate`: the network beside its simple rivals, on a block of time that no choice has used."""

import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console

from models.cli.options import TASK_FILE_HELP, refuse_unwritable
from models.cli.progress import print_file, progress_bars
from models.evaluation.tasks import Task, task_of
from models.files.data_report import data_warnings, place_warnings
from models.hyperparameters import DEFAULT, Hyperparameters, read_recipe
from models.network_kinds import kind_of_network
from models.training.regions import RegionTask, task_for
from schemas.errors import SettingsError, needs_extra

LIBRARIES = ("numpy", "torch", "scipy", "scikit-learn")
BARS = ("counting", "replay", "fitting", "judging")


def evaluate_command(
    what: Annotated[str, typer.Argument(help=f"{TASK_FILE_HELP}; or archive:PATH")],
    out: Annotated[Path, typer.Option(help="Folder for evaluation.json, the picture and the page")],
    region: Annotated[str, typer.Option(help="Of a file or an archive of several regions: which one")] = "",
    step: Annotated[str, typer.Option(help="How far ahead a forecast goes: hour, 4h or day")] = "hour",
    seeds: Annotated[int, typer.Option(min=1, help="Networks to train; the table shows their mean")] = 5,
    origins: Annotated[int, typer.Option(min=1, help="Blocks of time to judge; models are fitted for each")] = 1,
    delay_steps: Annotated[int, typer.Option(min=0, help="Steps until an incident is known")] = 0,
) -> None:
    """Judge the network and its simple rivals, in one table, on the last block of time."""
    import torch

    with needs_extra("evaluate"):
        from models.evaluation.evaluate import evaluate_rolling
        from models.evaluation.plan import EvaluationPlan
        from models.evaluation.regressions import REGRESSIONS
        from models.evaluation.report.page import write_report
        from models.evaluation.report.table import print_table
    torch.set_num_threads(1)  # equal seeds give equal weights, however many cores there are
    console = Console()
    asked = task_for(what, region)
    recipe = _recipe_of(asked, origins)
    kind_of_network(recipe.network)
    task = task_of(asked, step=step, origins=origins, now_s=time.time())
    refuse_unwritable(out)
    _describe(task, console)
    with progress_bars(BARS, console, transient=True) as report:
        plan = EvaluationPlan(
            regressions=REGRESSIONS,
            seeds=range(seeds),
            purge=1 + delay_steps,
            delay=delay_steps,
            recipe=recipe,
            tell=report,
        )
        versions = {name: version(name) for name in LIBRARIES}
        evaluation = evaluate_rolling(task, plan, origins=origins, now=datetime.now(UTC), versions=versions)
    print_table(evaluation, console)  # first, so that hours of work can be read even if a file cannot be written
    page = write_report(evaluation, out)
    console.print(f"report: {page}", soft_wrap=True)


def _recipe_of(asked: RegionTask, origins: int) -> Hyperparameters:
    """How the region's networks are made."""
    if asked.recipe and origins > 1:
        raise SettingsError("a recipe, and --origins: the earlier blocks chose it", "leave out one of the two")
    recipe = read_recipe(Path(asked.recipe)).recipe if asked.recipe else DEFAULT
    return msgspec.structs.replace(recipe, network=asked.network or recipe.network)


def _describe(task: Task, console: Console) -> None:
    starts_s = task.cube.starts_s
    warnings = data_warnings(task.incidents, int(starts_s[task.validation]), step_s=task.step_s)
    places = place_warnings(task.incidents, task.grid)
    days = task.calendar.warnings(int(starts_s[task.validation]))
    print_file(task.row_counts, (*warnings, *places, *days), console)

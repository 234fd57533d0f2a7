"""`python -m models evaluate`: the network beside every simple rival, on a block of time that no choice has seen."""

import time
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import torch
import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from models.artifact.folders import make_writable
from models.artifact.untrusted_bytes import sha256
from models.evaluation.tasks import STEPS_S, TASKS, Task, task_of_file
from models.files.data_report import data_warnings, in_words
from models.files.layouts import LAYOUT_HELP, parse_layout
from models.hyperparameters import DEFAULT, read_recipe
from models.networks import MODELS, kind_of_network
from schemas.errors import DataError, SettingsError

if TYPE_CHECKING:
    from models.evaluation.contract import Regression

LIBRARIES = ("numpy", "torch", "scipy", "scikit-learn", "scoringrules", "pyspark")
BARS = ("counting", "replay", "fitting", "judging")


def evaluate_command(
    out: Annotated[Path, typer.Option(help="Folder for evaluation.json, pictures and the page")],
    task: Annotated[str, typer.Option(help="One of the named tasks; without it, --data is judged")] = "",
    data: Annotated[Path | None, typer.Option(help="Incident file; a task looks for its own in ../shared/data")] = None,
    layout: Annotated[str, typer.Option(help=LAYOUT_HELP)] = "",
    cell_m: Annotated[float, typer.Option(help="Side of a cell, metres")] = 1000.0,
    step: Annotated[str, typer.Option(help="hour, 4h or day: how far ahead a forecast goes")] = "hour",
    seeds: Annotated[int, typer.Option(min=1, help="Networks to train; the row is their mean")] = 5,
    origins: Annotated[int, typer.Option(min=1, help="Blocks of time to judge, models fitted for each")] = 1,
    purge_steps: Annotated[int, typer.Option(min=0, help="Left out before what is judged, beside 1 and the delay")] = 0,
    recipe: Annotated[Path | None, typer.Option(help="What `tune` chose, for the network")] = None,
    network: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Kind of network: {', '.join(MODELS)}; several times for several, the report is about the first"
        ),
    ] = None,
    delay_steps: Annotated[int, typer.Option(min=0, help="Steps until an incident is known")] = 0,
    merge_repeated: Annotated[
        bool,
        typer.Option("--merge-repeated", help="Of --data: calls within 200 m and 15 min are one"),
    ] = False,
    forest: Annotated[bool, typer.Option(help="Also Spark MLlib's random forest, which needs Java")] = True,
) -> None:
    """Judge the network, and every simple rival in the same table, on the last block of time.

    Named tasks: chicago-3km-daily, chicago-1km-hourly, montgomery-2km-hourly.
    """
    try:
        from models.evaluation.evaluate import EvaluationPlan, evaluate_rolling
        from models.evaluation.regressions import REGRESSIONS
        from models.evaluation.report.page import write_report
        from models.evaluation.report.table import print_table
    except ModuleNotFoundError as error:
        raise SettingsError(f"{error.name} is not installed: pip install 'incident-risk-scorer[evaluate]'") from error
    torch.set_num_threads(1)  # equal seeds give equal weights, however many cores there are
    console = Console()
    if recipe and origins > 1:
        raise SettingsError("--recipe with --origins: the recipe was chosen on the earlier blocks; give one of the two")
    if task and merge_repeated:
        raise SettingsError("--merge-repeated with --task: the named tasks count every call; judge the file by --data")
    hyperparameters = read_recipe(recipe).recipe if recipe else DEFAULT
    kinds = tuple(dict.fromkeys(network or [hyperparameters.network]))
    for kind in kinds:
        kind_of_network(kind)
    chosen = _task(task, data, layout, cell_m, step, origins, merge_repeated)
    try:
        make_writable(out)  # before hours of work are done
    except OSError as error:
        raise SettingsError(f"--out {out} cannot be written ({error.strerror}): name another folder") from error
    for line in in_words(chosen.row_counts):
        console.print(escape(line), highlight=False, soft_wrap=True)
    for warning in data_warnings(chosen.incidents, int(chosen.cube.starts_s[chosen.validation]), step_s=chosen.step_s):
        console.print(f"[yellow]warning:[/yellow] {escape(warning)}", soft_wrap=True)
    regressions: list[Regression] = [*REGRESSIONS]
    if forest:
        from models.evaluation.regressions.random_forest import RandomForest, spark

        regressions.append(RandomForest(session=partial(spark, out / "spark.log")))
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        bars = {name: progress.add_task(name, total=1.0) for name in BARS}
        plan = EvaluationPlan(
            regressions=regressions,
            seeds=range(seeds),
            purge=1 + delay_steps + purge_steps,
            delay=delay_steps,
            recipe=hyperparameters,
            networks=kinds,
            tell=lambda what, share: progress.update(bars[what.partition(":")[0]], description=what, completed=share),
        )
        evaluation = evaluate_rolling(
            chosen,
            plan,
            origins=origins,
            now=datetime.now(UTC),
            versions={name: version(name) for name in LIBRARIES},
        )
    print_table(evaluation, console)  # first: whatever becomes of the files, hours of work are to be read
    page = write_report(evaluation, out)
    console.print(f"report: {page}", soft_wrap=True)


def _task(task: str, data: Path | None, layout: str, cell_m: float, step: str, origins: int, merge: bool) -> Task:
    if task:
        if task not in TASKS:
            raise DataError(f"--task {task}: choose one of {', '.join(TASKS)}")
        make, usual_place = TASKS[task]
        path = data or usual_place
        return _of(path, make(path))
    if data is None or not layout:
        raise DataError("give --task, or --data and --layout")
    if step not in STEPS_S:
        raise DataError(f"--step {step}: choose one of {', '.join(STEPS_S)}")
    found = task_of_file(
        data, parse_layout(layout), cell_m=cell_m, step=step, now_s=time.time(), origins=origins, merge=merge
    )
    return _of(data, found)


def _of(path: Path, task: Task) -> Task:
    return replace(task, data_file=path.name, data_sha256=sha256(path.read_bytes()))

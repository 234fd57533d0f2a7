"""`risk train`, `tune`, `evaluate` and `explain`: from incidents, or a guess, to artifacts, recipes and figures.

torch takes seconds to import: it is imported by the command that needs it.
"""

import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import numpy as np
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from models.artifact import champion_of, check_writable
from models.baseline import horizon_hours, profile_hours
from models.evaluation.tasks import task_of
from models.feature_lists import usual_columns
from models.features import FeatureEngine, feature_names
from models.files.data_report import data_warnings, place_warnings, row_counts
from models.files.incident_archive import is_archive
from models.files.incident_files import refuse_swapped
from models.local_time import zone_of
from models.network_kinds import DEFAULT, TunedOn, kind_of_network, read_recipe, write_recipe
from models.training.region_tasks import (
    DATA_OR_ARCHIVE_HELP,
    DEFAULT_CELL_M,
    TASK_FILE_HELP,
    Artifacts,
    CellSide,
    FileLayout,
    MasksFile,
    Master,
    RegionTask,
    SharedArtifacts,
    TaskFile,
    Until,
    edges_of,
    print_file,
    progress_bars,
    read_regions,
    refuse_unwritable,
    task_for,
)
from schemas.areas import read_masks
from schemas.errors import DataError, SettingsError, needs_extra
from schemas.files import stamp
from schemas.frame import ATTRIBUTION_GROUPS
from schemas.grid import Grid
from schemas.spec import PURPOSES, Spec

if TYPE_CHECKING:
    from models.training.fit_network import Fit
    from models.training.train import HorizonResult
    from models.tuning import TuningResult


LOG = "training-spark.log"
TUNING_BARS = ("replay", "trials", "seeds")
_SHOWN = 5


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
    per_day: Annotated[
        str, typer.Option(help="Without data: a guess of the incidents a day of each category, as fire=3,ems=40")
    ] = "",
    timezone: Annotated[str, typer.Option(help="Without data: IANA name, such as America/Chicago")] = "",
    answered_by: Annotated[str, typer.Option(help="Categories that standing units answer, as fire,ems")] = "",
    purpose: Annotated[str, typer.Option(help=f"Forbids other categories: {', '.join(PURPOSES)}")] = "",
    masks: MasksFile = None,
    out: SharedArtifacts = Path("data/artifacts"),
    workers: Annotated[
        int, typer.Option(min=1, help="Processes in Spark: they fit the network together, or a region of FILE each")
    ] = 1,
    master: Master = "",
) -> None:
    """Train on a file of incidents and publish the artifact.

    What is asked for stands in FILE, with a table for each region, or in --data, --region and the options after them.
    Several regions are trained side by side in Spark; one that fails does not stop the others.

    A region without past incidents begins with --per-day, a guess, in place of data: its artifact is untrained. Its
    first scores mean little, and are marked so: no cell has a history. After some weeks, train on the incidents of that
    time with --like this artifact; the running job then changes to the trained one.
    """
    if per_day:
        if file or data or layout or like or until != "none":
            raise SettingsError("--per-day and data", "give a guess where there are no data, else leave it out")
        from models.artifact import write_untrained

        if not (region and timezone and bounds):
            raise SettingsError("--per-day says too little", "give --region, --timezone and --bounds with it")
        rates = _rates(per_day)
        now_s = int(time.time())
        south, west, north, east = edges_of(bounds)
        lat_deg, lon_deg = np.array([south, north]), np.array([west, east])
        refuse_swapped(lat_deg, lon_deg, timezone, now_s, f"--bounds {bounds!r}", "write SOUTH,WEST,NORTH,EAST")
        spec = Spec(
            region=region,
            timezone=timezone,
            grid=Grid.around(lat_deg, lon_deg, cell_m=cell_m, trim=0),
            categories=tuple(rates),
            features=feature_names(),
            answered_by=_names(answered_by),
            purpose=purpose,
            masked=read_masks(masks).digest,
        )
        check_writable(out)
        per_category = list(rates.values())
        published = write_untrained(out, spec, per_day=per_category, cutoff_s=now_s, created=stamp(now_s))
        grid = spec.grid
        console = Console(highlight=False, soft_wrap=True)
        console.print(f"{grid.rows} x {grid.cols} cells of {grid.cell_m:g} m; categories {', '.join(spec.categories)}")
        console.print(f"artifact: {published}")
        return
    if timezone:
        raise SettingsError(f"--timezone {timezone} without --per-day", "leave it out: the layout names the time zone")
    if file is None and not (data and region):
        raise SettingsError("nothing to train on", "give a file of tasks, or --data, --layout and --region")
    others_than_file = (data, layout, region, like, bounds, answered_by, purpose)
    if file and (any(others_than_file) or until != "none" or cell_m != DEFAULT_CELL_M):
        raise SettingsError(f"{file} and options of one region", f"write the options into {file}")
    if file:
        tasks = read_regions(file)
    else:
        task = RegionTask(
            data=data,
            layout=layout,
            region=region,
            cell_m=cell_m,
            like=str(like or ""),
            bounds=bounds,
            until=until,
            answered_by=_names(answered_by),
            purpose=purpose,
            masks="" if is_archive(data) else str(masks or ""),  # an archive's counts were masked as they were made
        )
        tasks = (task,)
    if len(tasks) > 1:
        _train_side_by_side(tasks, out, workers, master)
        return
    import torch

    from models.training.fit_network import fit_network, fit_spread
    from models.training.over_spark import executors
    from models.training.train_region import prepare, train_region

    if master and workers == 1:
        raise SettingsError(f"--master {master}, but one worker needs no Spark", "leave it out, or give --workers")
    device = "cuda" if workers == 1 and torch.cuda.is_available() else "cpu"
    check_writable(out)
    console = Console()
    ready = prepare(tasks[0])
    grid = ready.spec.grid
    lat, lon = grid.corners()
    console.print(
        f"{len(ready.counted):,} incidents, {grid.rows} x {grid.cols} cells of {grid.cell_m:.0f} m, latitude "
        f"{lat.min():.3f} to {lat.max():.3f}, longitude {lon.min():.3f} to {lon.max():.3f}",
        soft_wrap=True,
    )
    print_file(row_counts(ready.counted, grid), ready.warnings, console)
    with ExitStack() as stack:
        fit: Fit = partial(fit_network, device=device)
        if workers > 1:
            stack.enter_context(executors(master or f"local[{workers}]", out / LOG))
            fit = partial(fit_spread, workers=workers, log=out / LOG)
        report = stack.enter_context(progress_bars(("baseline", "replay", "network", "on all data"), console))
        folder, results = train_region(ready, out, report=report, fit=fit, workers=workers, device=device)
    _print_results(results, console)
    console.print(f"artifact: {folder}", soft_wrap=True)


def _train_side_by_side(tasks: Sequence[RegionTask], out: Path, workers: int, master: str) -> None:
    """Raises DataError for the regions that failed, once all have ended."""
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


def _print_results(rows: "Sequence[HorizonResult]", console: Console) -> None:
    from models.training.train import remarks

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
    console.print(shown)
    for remark in remarks(rows):
        console.print(f"[yellow]note:[/yellow] {remark}", soft_wrap=True, highlight=False)


def tune_command(
    file: Annotated[Path, typer.Argument(help=TASK_FILE_HELP)],
    out: Annotated[Path, typer.Option(help="Folder for recipe.json and the journal; a second call continues from it")],
    trials: Annotated[int, typer.Option(min=1, help="Recipes to try in all, with those of an earlier call")] = 30,
) -> None:
    """Choose the network's widths and how it is trained, on the time before the test block.

    The recipe that it writes is named in FILE for `train`: recipe = "out/tuning/recipe.json".
    """
    import torch

    from models.training.train_region import prepare

    with needs_extra("evaluate"):
        from models.tuning import OBJECTIVE, collect_folds, open_study, tune
    torch.set_num_threads(1)  # equal seeds give equal weights, however many cores there are
    console = Console(highlight=False)
    refuse_unwritable(out)
    task = task_for(str(file))
    ready = prepare(task)
    # Of two searches that differ here, one cannot go on with the other's journal.
    spec, until = ready.spec, datetime.fromtimestamp(ready.cutoff_s, UTC)
    parts = [
        f"{task.region}, {' '.join(spec.horizon_names)}, until {until:%Y-%m-%dT%H:%MZ}, {task.epochs} epochs, "
        f"steps of {task.step_minutes} min",
        f"holidays of {spec.holidays}" if spec.holidays else "",
        f"calendar of sha256 {ready.calendar.sha256}" if spec.calendar else "",
        "repeated calls merged" if spec.merges_calls else "",
        f"masks {spec.masked}" if spec.masked else "",
    ]
    tuned_on = TunedOn(
        data_sha256=ready.data_sha256,
        layout=ready.incidents.layout,
        cell_m=spec.grid.cell_m,
        task=", ".join(part for part in parts if part),
        objective=OBJECTIVE,
        seed=task.seed,
        trials=trials,
        made_at=stamp(time.time()),
    )
    study = open_study(out / "trials.journal", tuned_on)
    with progress_bars(TUNING_BARS, console) as report:
        folds = collect_folds(ready.history(), ready.options, report=lambda share: report("replay", share))
        tuned = tune(study, folds.loss, tuned_on, report=report)
    write_recipe(out / "recipe.json", tuned.chosen, msgspec.structs.replace(tuned_on, trials=len(tuned.trials)))
    pruned = sum(trial.pruned for trial in tuned.trials)
    shown = Table(title=f"best of {len(tuned.trials)} trials, {pruned} stopped early", box=None, padding=(0, 0, 0, 1))
    for name in ("trial", "loss", "widths", "learning rate", "weight decay", "minibatch", "patience"):
        shown.add_column(name, justify="right", no_wrap=True)
    complete = sorted((trial for trial in tuned.trials if not trial.pruned), key=lambda trial: trial.loss)
    for trial in complete[:_SHOWN]:
        recipe = trial.recipe
        shown.add_row(
            f"{trial.number}" if trial.number else "0, default",
            f"{trial.loss:.5f}",
            f"{recipe.widths[0]}, {recipe.widths[1]}",
            f"{recipe.learning_rate:.2g}",
            f"{recipe.weight_decay:.2g}",
            f"{recipe.minibatch}",
            f"{recipe.patience}",
        )
    console.print(shown)
    for line in result_in_words(tuned):
        console.print(line, soft_wrap=True)
    console.print(f"recipe: {out / 'recipe.json'}", soft_wrap=True)


def result_in_words(tuned: "TuningResult") -> list[str]:
    """What was found, in sentences."""
    default, best, compared = tuned.trials[0], tuned.best, tuned.compared
    if compared is None:
        return ["no trial is better than the default on the same folds: the default stays"]
    less = 1 - best.loss / default.loss
    decision = "the default stays" if tuned.chosen == default.recipe else f"trial {best.number} becomes the recipe"
    return [
        f"trial {best.number} has {less:.3%} less loss than the default on the same folds and the same seed",
        f"with seeds {', '.join(map(str, compared.seeds))}: trial {best.number} {_range(compared.best)}, "
        f"default {_range(compared.default)}",
        f"it gains {compared.gain:.5f}; seeds of one recipe differ by up to {compared.spread:.5f}: {decision}",
    ]


def _range(losses: tuple[float, ...]) -> str:
    return f"{sum(losses) / len(losses):.5f} ({min(losses):.5f} to {max(losses):.5f})"


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _rates(text: str) -> dict[str, float]:
    """Category -> incidents a day, sorted as `train` sorts categories. Raises DataError."""
    rates = {}
    for part in text.split(","):
        name, _, number = part.strip().partition("=")
        try:
            rate = float(number)
        except ValueError:
            rate = 0.0
        if not 0 < rate <= 1e6 or name in rates:
            raise DataError(f"--per-day {part!r}", "write each category once with a number above 0, as fire=3,ems=40")
        rates[name] = rate
    return dict(sorted(rates.items()))


LIBRARIES = ("numpy", "torch", "scipy", "scikit-learn")
BARS = ("replay", "fitting", "judging", "counting")


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
        from models.evaluation.evaluate import ORIGINS, evaluate_rolling
        from models.evaluation.evaluation_report import print_table, write_report
        from models.evaluation.judge import EvaluationPlan
        from models.evaluation.rivals import REGRESSIONS
    torch.set_num_threads(1)  # equal seeds give equal weights, however many cores there are
    console = Console()
    asked = task_for(what, region)
    if asked.recipe and origins > 1:
        raise SettingsError("a recipe, and --origins: the earlier blocks chose it", "leave out one of the two")
    recipe = read_recipe(Path(asked.recipe)).recipe if asked.recipe else DEFAULT
    recipe = msgspec.structs.replace(recipe, network=asked.network or recipe.network)
    kind_of_network(recipe.network)
    task = task_of(asked, step=step, origins=origins, now_s=time.time())
    refuse_unwritable(out)
    until_s = int(task.cube.starts_s[task.validation])
    warnings = data_warnings(task.incidents, until_s, step_s=task.step_s)
    places = place_warnings(task.incidents, task.grid)
    print_file(task.row_counts, (*warnings, *places, *task.calendar.warnings(until_s)), console)
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
        evaluation = evaluate_rolling(
            task,
            plan,
            origins=origins,
            now=datetime.now(UTC),
            versions=versions,
            folder=out,
            say=partial(console.print, highlight=False, markup=False, soft_wrap=True),
        )
    print_table(evaluation, console)  # first, so that hours of work can be read even if a file cannot be written
    page = write_report(evaluation, out)
    for origin in out.glob(ORIGINS):
        origin.unlink()
    console.print(f"report: {page}", soft_wrap=True)


def explain_command(
    region: Annotated[str, typer.Option(help="Region of the artifact")],
    cell: Annotated[str, typer.Option(help="Cell id as on the map: r012c034")],
    artifacts: Artifacts = Path("data/artifacts"),
) -> None:
    """Show the parts of each score where the model's data end: history, hour, recent counts, the network."""
    from models.scoring import groups_of, shares  # with SciPy, which takes a while to import

    artifact = champion_of(artifacts, region)
    spec, constants, state = artifact.spec, artifact.constants, artifact.history()
    place, at_s, horizons_s = spec.grid.index_of(cell), state.tick_s, spec.horizons_s
    # The parts of log expected in the cell, (categories, horizons) each; without a network the baseline's alone.
    values = FeatureEngine(spec, constants).compute(state).values
    own = np.log(horizon_hours(constants, at_s, spec)[place])
    average = np.log(np.stack([profile_hours(constants, at_s, at_s + h, spec.timezone) for h in horizons_s], axis=1))
    length = np.log(np.array(horizons_s) / 3600)
    usual = values[place, :, usual_columns(len(horizons_s))].astype(np.float64)
    parts = {
        "the cell's rate at the region's level": usual - own + length,
        "hour of the week": average - length,
        "the cell's own day": own - average,
    }
    if (network := artifact.network()) is not None:
        added = shares(network, values[place : place + 1], groups_of(spec.features))
        parts |= {ATTRIBUTION_GROUPS[name]: share[0] for name, share in added.items()}
    console = Console(highlight=False)
    when = datetime.fromtimestamp(state.as_of_s, zone_of(spec.timezone)).strftime("%Y-%m-%d %H:%M")
    console.print(f"{region}, cell {cell}, {when}, model {artifact.version}", soft_wrap=True)
    if artifact.network_fault:
        console.print(
            f"[yellow]warning:[/yellow] {escape(artifact.network_fault)}: the scores are those of the baseline",
            soft_wrap=True,
        )
    console.print("expected = the parts multiplied; below 1 a part makes the score smaller\n", soft_wrap=True)
    for number, category in enumerate(spec.categories):
        table = Table("", title=category, title_justify="left", box=None, padding=(0, 2, 0, 0))
        for horizon in spec.horizon_names:
            table.add_column(horizon, justify="right")
        factors = {name: np.exp(log[number]) for name, log in parts.items()}
        (rate, incidents), *others = factors.items()
        table.add_row(f"{rate}, incidents", *(f"{of_horizon:.3g}" for of_horizon in incidents))
        for name, of_part in others:
            table.add_row(f"x {name}", *(f"{factor:.3f}" for factor in of_part))
        expected = np.prod([*factors.values()], axis=0)
        table.add_row("[bold]expected[/bold]", *(f"[bold]{of_horizon:.3g}[/bold]" for of_horizon in expected))
        of_usual = np.exp(usual[number])
        table.add_row("usual (without the network)", *(f"{of_horizon:.3g}" for of_horizon in of_usual))
        console.print(table)

"""`python -m models tune`: which recipe suits a file, and whether it suits better than the default."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from models.cli.options import TASK_FILE_HELP, refuse_unwritable
from models.cli.progress import progress_bars
from models.hyperparameters import TunedOn, write_recipe
from models.training.regions import task_for
from schemas.errors import needs_extra
from schemas.instants import stamp

if TYPE_CHECKING:
    from models.training.train_region import PreparedTask
    from models.tuning import TuningResult

BARS = ("replay", "trials", "seeds")
_SHOWN = 5


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
    tuned_on = _tuned_on(ready, trials, OBJECTIVE)
    study = open_study(out / "trials.journal", tuned_on)
    with progress_bars(BARS, console) as report:
        folds = collect_folds(ready.history(), ready.options, report=lambda share: report("replay", share))
        tuned = tune(study, folds.loss, tuned_on, report=report)
    write_recipe(out / "recipe.json", tuned.chosen, msgspec.structs.replace(tuned_on, trials=len(tuned.trials)))
    console.print(_table(tuned))
    for line in verdict(tuned):
        console.print(line, soft_wrap=True)
    console.print(f"recipe: {out / 'recipe.json'}", soft_wrap=True)


def _tuned_on(ready: "PreparedTask", trials: int, objective: str) -> TunedOn:
    return TunedOn(
        data_sha256=ready.data_sha256,
        layout=ready.incidents.layout,
        cell_m=ready.spec.grid.cell_m,
        task=_described(ready),
        objective=objective,
        seed=ready.task.seed,
        trials=trials,
        made_at=stamp(time.time()),
    )


def _described(ready: "PreparedTask") -> str:
    """What was tuned on, in words: of two searches that differ here, one cannot go on with the other's journal."""
    task, spec = ready.task, ready.spec
    until = datetime.fromtimestamp(ready.cutoff_s, UTC)
    parts = [
        f"{task.region}, {' '.join(spec.horizon_names)}, until {until:%Y-%m-%dT%H:%MZ}, {task.epochs} epochs, "
        f"steps of {task.step_minutes} min",
        f"holidays of {spec.holidays}" if spec.holidays else "",
        f"calendar of sha256 {ready.calendar.sha256}" if spec.calendar else "",
        "repeated calls merged" if spec.merges_calls else "",
        f"masks {spec.masked}" if spec.masked else "",
    ]
    return ", ".join(part for part in parts if part)


def verdict(tuned: "TuningResult") -> list[str]:
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


def _table(tuned: "TuningResult") -> Table:
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
    return shown

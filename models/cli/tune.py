"""`python -m models tune`: which recipe suits a file, and whether it suits better than the default."""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from models.artifact.untrusted_bytes import sha256
from models.files.cutoff import UNTIL_HELP, cutoff_of
from models.files.data_report import read_past
from models.files.layouts import LAYOUT_HELP, parse_layout
from models.hyperparameters import TunedOn, write_recipe
from models.training.train import spec_for
from models.tuning.rolling_origin import FOLDS, OBJECTIVE, collect_folds
from schemas.errors import DataError, SettingsError

if TYPE_CHECKING:
    from models.tuning.search import FinishedTrial
    from models.tuning.tune import TuningResult

BARS = ("replay", "trials", "seeds")
_SHOWN = 5


def tune_command(
    data: Annotated[Path, typer.Option(help="Incident file: .csv, .csv.gz, or .zip with one .csv")],
    layout: Annotated[str, typer.Option(help=LAYOUT_HELP)],
    region: Annotated[str, typer.Option(help="Region's slug: a-z, 0-9, - and _")],
    out: Annotated[Path, typer.Option(help="Folder for recipe.json and the journal, from which a second call goes on")],
    cell_m: Annotated[float, typer.Option(help="Side of a cell, metres")] = 1000.0,
    until: Annotated[str, typer.Option(help=UNTIL_HELP)] = "none",
    trials: Annotated[int, typer.Option(min=1, help="Recipes to try in all, those of an earlier call included")] = 30,
    sampler: Annotated[str, typer.Option(help="tpe: the most promising next; grid: 18 fixed ones")] = "tpe",
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds try equal recipes")] = 0,
    epochs: Annotated[int, typer.Option(min=1, help="Most passes over the examples, as for train")] = 12,
    step_minutes: Annotated[int, typer.Option(min=5, help="Mean time between two moments, as for train")] = 180,
) -> None:
    """Choose the network's widths and how it is trained, on the time before the test block, for `train --recipe`."""
    try:
        from models.tuning.search import SAMPLERS, open_study
        from models.tuning.tune import tune
    except ModuleNotFoundError as error:
        raise SettingsError(f"{error.name} is not installed: pip install 'incident-risk-scorer[evaluate]'") from error
    if sampler not in SAMPLERS:
        raise DataError(f"--sampler {sampler}: choose one of {', '.join(SAMPLERS)}")
    torch.set_num_threads(1)  # equal seeds give equal weights, however many cores there are
    console = Console(highlight=False)
    incidents = read_past(data, parse_layout(layout), now_s=time.time())
    cutoff_s = cutoff_of(until, incidents)
    spec = spec_for(incidents, region=region, cell_m=cell_m, cutoff_s=cutoff_s)
    until_utc = datetime.fromtimestamp(cutoff_s, UTC)
    tuned_on = TunedOn(
        data_sha256=sha256(data.read_bytes()),
        layout=incidents.layout,
        cell_m=cell_m,
        task=f"{region}, {' '.join(spec.horizon_names)}, until {until_utc:%Y-%m-%dT%H:%MZ}, {epochs} epochs, "
        f"steps of {step_minutes} min",
        objective=OBJECTIVE,
        sampler=sampler,
        seed=seed,
        trials=trials,
        made_at=datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ"),
    )
    out.mkdir(parents=True, exist_ok=True)
    study = open_study(out / "trials.journal", tuned_on)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bars = {name: progress.add_task(name, total=1.0) for name in BARS}

        def tell(what: str, share: float) -> None:
            progress.update(bars[what.partition(":")[0]], description=what, completed=share)

        folds = collect_folds(
            incidents,
            spec,
            cutoff_s=cutoff_s,
            step_s=60 * step_minutes,
            seed=seed,
            told=lambda share: tell("replay", share),
        )
        tuned = tune(
            study,
            lambda recipe, fold, other: folds.loss(recipe, fold, epochs=epochs, seed=other),
            folds=FOLDS,
            trials=trials,
            sampler=sampler,
            seed=seed,
            tell=tell,
        )
    write_recipe(out / "recipe.json", tuned.chosen, msgspec.structs.replace(tuned_on, trials=len(tuned.trials)))
    console.print(_table(tuned))
    for line in verdict(tuned):
        console.print(line, soft_wrap=True)
    console.print(f"recipe: {out / 'recipe.json'}", soft_wrap=True)


def verdict(tuned: "TuningResult") -> list[str]:
    """What was found, in sentences."""
    default, best, compared = tuned.trials[0], tuned.best, tuned.compared
    if compared is None:
        return ["none of them is better than the default on the same folds: it stays"]
    less = 1 - best.loss / default.loss
    lines = [f"trial {best.number} has {less:.3%} less loss than the default on the same folds and the same seed"]
    lines.append(
        f"with seeds {', '.join(map(str, compared.seeds))}: trial {best.number} {_range(compared.best)}, "
        f"default {_range(compared.default)}"
    )
    measured = f"it gains {compared.gain:.5f}; seeds of one recipe differ by up to {compared.spread:.5f}"
    stays = tuned.chosen == default.recipe
    lines.append(f"{measured}: {'the default stays' if stays else f'trial {best.number} is the recipe'}")
    return lines


def _range(losses: tuple[float, ...]) -> str:
    return f"{sum(losses) / len(losses):.5f} ({min(losses):.5f} to {max(losses):.5f})"


def _table(tuned: "TuningResult") -> Table:
    pruned = sum(one.pruned for one in tuned.trials)
    shown = Table(title=f"best of {len(tuned.trials)} trials, {pruned} given up early", box=None, padding=(0, 0, 0, 1))
    for name in ("trial", "loss", "widths", "learning rate", "weight decay", "minibatch", "patience"):
        shown.add_column(name, justify="right", no_wrap=True)
    whole = sorted((one for one in tuned.trials if not one.pruned), key=lambda one: one.loss)
    for one in whole[:_SHOWN]:
        shown.add_row(*_cells(one))
    return shown


def _cells(one: "FinishedTrial") -> tuple[str, ...]:
    recipe = one.recipe
    return (
        f"{one.number}" if one.number else "0, default",
        f"{one.loss:.5f}",
        f"{recipe.widths[0]}, {recipe.widths[1]}",
        f"{recipe.learning_rate:.2g}",
        f"{recipe.weight_decay:.2g}",
        f"{recipe.minibatch}",
        f"{recipe.patience}",
    )

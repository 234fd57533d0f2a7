"""The search for a recipe: its space, its journal, and the next trial. Optuna's part of tuning.

The next trial depends only on the seed, on the number of finished trials and on their losses, so a search that was
interrupted continues as if it had not been. The journal is JSON, one line for each step.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import PartialFixedSampler, RandomSampler, TPESampler
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from models.hyperparameters import DEFAULT, Hyperparameters, TunedOn
from schemas.errors import DataError

_OTHER_JOURNAL = "give another --out, or delete it"
SPACE: Mapping[str, BaseDistribution] = {
    "first": IntDistribution(16, 128, step=8),  # at most twice the default: the stream scores every cell, always
    "second": IntDistribution(8, 64, step=8),
    "learning_rate": FloatDistribution(2e-4, 1e-2, log=True),
    "weight_decay": FloatDistribution(1e-5, 1.0, log=True),
    "minibatch": IntDistribution(512, 8192, step=512),
    "patience": IntDistribution(2, 6),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedTrial:
    """A finished trial."""

    number: int  # among the finished ones, from 0
    recipe: Hyperparameters
    losses: tuple[float, ...]  # after each fold, the mean of the folds so far
    pruned: bool  # stopped after a fold, with a loss above the median of the trials before it

    @property
    def loss(self) -> float:
        return self.losses[-1]


def open_study(journal: Path, tuned_on: TunedOn) -> optuna.Study:
    """The study in `journal`, or a new one. Raises DataError when it is damaged, or another search's."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        _drop_torn_line(journal)
        study = optuna.create_study(
            study_name="recipe",
            storage=JournalStorage(JournalFileBackend(str(journal))),
            pruner=optuna.pruners.MedianPruner(),
            load_if_exists=True,
        )
    except (ValueError, LookupError, TypeError, OSError) as error:
        raise DataError(f"{journal} cannot be used ({error!r})", remedy=_OTHER_JOURNAL) from error
    now = {name: value for name, value in msgspec.to_builtins(tuned_on).items() if name not in ("trials", "made_at")}
    was = study.user_attrs.get("tuned_on")
    if was is None:
        study.set_user_attr("tuned_on", now)
    elif other := [f"{name} was {was.get(name)} and is {now[name]}" for name in now if was.get(name) != now[name]]:
        raise DataError(
            f"{journal} was written by a search with other settings ({', '.join(other)})", remedy=_OTHER_JOURNAL
        )
    return study


def ask(study: optuna.Study, *, seed: int) -> tuple[optuna.Trial, Hyperparameters]:
    """The next trial: the default first, then what TPE finds promising."""
    number = len(finished_trials(study))
    if number == 0:
        first, second = DEFAULT.widths
        params = msgspec.structs.asdict(DEFAULT) | {"first": first, "second": second}
        with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
            # Optuna's queue of fixed trials would give the point of an interrupted trial twice.
            study.sampler = PartialFixedSampler(params, RandomSampler(seed=0))
    else:
        own_seed = int(np.random.SeedSequence((seed, number)).generate_state(1)[0])
        study.sampler = TPESampler(seed=own_seed, constant_liar=False)  # which ignores interrupted trials
    trial = study.ask(dict(SPACE))
    return trial, _recipe(trial.params)


def finished_trials(study: optuna.Study) -> tuple[FinishedTrial, ...]:
    """The finished trials in their order; interrupted ones have no number."""
    finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE, TrialState.PRUNED))
    return tuple(
        FinishedTrial(
            number=number,
            recipe=_recipe(trial.params),
            losses=tuple(trial.intermediate_values[fold] for fold in sorted(trial.intermediate_values)),
            pruned=trial.state == TrialState.PRUNED,
        )
        for number, trial in enumerate(finished)
    )


def _recipe(params: Mapping[str, Any]) -> Hyperparameters:
    others = {name: value for name, value in params.items() if name not in ("first", "second")}
    return Hyperparameters(widths=(params["first"], params["second"]), **others)


def _drop_torn_line(journal: Path) -> None:
    """A process that was killed while it wrote leaves a line without an end, and the next line would join it."""
    if journal.exists() and not (content := journal.read_bytes()).endswith(b"\n"):
        journal.write_bytes(content[: content.rfind(b"\n") + 1])

"""`python -m benchmarks newcomers`: a region that knows only a few weeks, with and without the network of another one.

The file's first weeks are all that is known, the six weeks after them are judged. The lender's network has learned from
all of its own file but the last blocks; it sees the newcomer's features and corrects the newcomer's own baseline.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.tries.collected import Collected, Values, collect_task
from benchmarks.tries.judged import examples_of, log_means
from benchmarks.tries.verdict import verdict
from models.evaluation.tasks import TASKS, TRAIN_PERCENT, VALIDATION_PERCENT, Task, ending
from models.likelihood import log_scores
from models.measures.paired import day_blocks
from models.network import RiskNetwork
from models.training.fit_dispersion import likeliest_dispersion
from models.training.fit_network import Examples, FitData, FitPlan, fit_network

Floats = npt.NDArray[np.float64]
LENDERS = {"montgomery-2km-hourly": "chicago-1km-hourly", "chicago-1km-hourly": "montgomery-2km-hourly"}
WEEKS_KNOWN = (3, 6, 12, 24)
JUDGED_WEEKS = 6
FLAT, OWN_BASELINE, OWN, LENT, JOINT, EMBEDDED = (
    "the same everywhere",
    "its own baseline",
    "its own network",
    "the other region's network",
    "one network for both regions",
    "the same, with a region embedding",
)


def newcomers_of(name: str, *, seeds: Sequence[int], epochs: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """By weeks known: each forecast against the newcomer's own baseline, percent of that one's log score."""
    task, lending = (make(path) for make, path in (TASKS[name], TASKS[LENDERS[name]]))
    tell(f"{name}: its lender, {LENDERS[name]}")
    lender = collect_task(lending)
    lent = [_fitted(_examples(lender), seed, epochs) for seed in seeds]
    rows = []
    for weeks in WEEKS_KNOWN:
        tell(f"{name}: {weeks} weeks known")
        beginning = _young(task, weeks)
        young = collect_task(beginning)
        scores = {what: _scored(young, forecast) for what, forecast in _forecasts(young, lender, lent, seeds, epochs)}
        level = np.log(flat_mean(beginning))
        flat = (level + np.zeros(young.validation.counts.shape), level + np.zeros(young.test.counts.shape))
        scores[FLAT] = _scored(young, flat)
        rows.append({"weeks": weeks, "against_its_baseline": _compared(scores, task)})
    return {"task": name, "lender": LENDERS[name], "seeds": len(seeds), "epochs": epochs, "by_weeks": rows}


def _young(task: Task, weeks: int) -> Task:
    test, end = (task.cube.steps_per_week * number for number in (weeks, weeks + JUDGED_WEEKS))
    return ending(task, end, validation=test * TRAIN_PERCENT // (TRAIN_PERCENT + VALIDATION_PERCENT), test=test)


def flat_mean(task: Task) -> Floats:
    """(categories,) mean count of the judged cells in the steps that are learned from."""
    return np.asarray(task.cube.counts[: task.validation, task.scored].mean(axis=(0, 1)))


def _forecasts(
    young: Collected, lender: Collected, lent: Sequence[RiskNetwork], seeds: Sequence[int], epochs: int
) -> Iterator[tuple[str, tuple[Floats, Floats]]]:
    """Log means of the newcomer's validation and judged steps, by what forecasts them."""
    own, other = _examples(young), _examples(lender)
    yield OWN_BASELINE, _means(young, [None])
    yield OWN, _means(young, [_fitted(own, seed, epochs) for seed in seeds])
    yield LENT, _means(young, lent)
    both = _joined(other[0], own[0]), own[1]
    yield JOINT, _means(young, [_fitted(both, seed, epochs) for seed in seeds])
    labelled = _joined(_labelled(other[0], 0), _labelled(own[0], 1)), _labelled(own[1], 1)
    networks = [_fitted(labelled, seed, epochs) for seed in seeds]
    parts = (replace(part, values=labelled_values(part.values, 1)) for part in (young.validation, young.test))
    validation, test = (log_means(part, networks) for part in parts)
    yield EMBEDDED, (validation, test)


def _examples(data: Collected) -> tuple[Examples, Examples]:
    return examples_of(data.train), examples_of(data.validation)


def _joined(one: Examples, other: Examples) -> Examples:
    return Examples(values=torch.cat([one.values, other.values]), counts=torch.cat([one.counts, other.counts]))


def labelled_values(values: Values, region: float) -> Values:
    """With the region's number as a feature more, before the last one, the baseline's forecast.

    Through the network's first layer it is an embedding of the two regions.
    """
    label = np.full((*values.shape[:-1], 1), region, np.float32)
    return np.concatenate([values[..., :-1], label, values[..., -1:]], axis=-1)


def _labelled(examples: Examples, region: float) -> Examples:
    return Examples(values=torch.from_numpy(labelled_values(examples.values.numpy(), region)), counts=examples.counts)


def _fitted(examples: tuple[Examples, Examples], seed: int, epochs: int) -> RiskNetwork:
    train, validation = examples
    dispersion = likeliest_dispersion(validation.log_usual, validation.counts)
    data = FitData(train=train, validation=validation, dispersion=dispersion)
    return fit_network(data, FitPlan(epochs=epochs, seed=seed), lambda epoch, loss: None).network


def _means(data: Collected, networks: Sequence[RiskNetwork | None]) -> tuple[Floats, Floats]:
    return log_means(data.validation, networks), log_means(data.test, networks)


def _scored(data: Collected, means: tuple[Floats, Floats]) -> Floats:
    """(steps,) mean log score, under the dispersion that is likeliest on the newcomer's validation steps."""
    seen = data.validation.counts
    chosen_by, counts = (torch.from_numpy(one.reshape(-1, one.shape[-1], 1)) for one in (means[0], seen))
    dispersion = likeliest_dispersion(chosen_by, counts)[:, 0]
    return np.asarray(log_scores(np.exp(means[1]), data.test.counts, dispersion).mean(axis=(1, 2)))


def _compared(scores: dict[str, Floats], task: Task) -> dict[str, Any]:
    own = scores.pop(OWN_BASELINE)
    blocks = day_blocks(len(own), steps_per_week=task.cube.steps_per_week)
    return {what: verdict((one - own)[None], blocks, float(own.mean())) for what, one in scores.items()}

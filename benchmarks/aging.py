"""`python -m benchmarks aging`: how fast a trained model's skill fades, and what a fit on all of the time gains.

At three origins a model is trained as `evaluate` does, and forecasts everything until the file ends. What an older one
loses is the difference to the one of the newest origin, on the same steps.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from benchmarks.tries.collected import Collected, collect_task
from benchmarks.tries.judged import examples_of, log_means
from benchmarks.tries.verdict import verdict
from models.dispersion import Dispersion
from models.evaluation.tasks import TASKS, Task
from models.likelihood import log_scores
from models.measures.paired import day_blocks
from models.network import RiskNetwork
from models.training.fit_dispersion import likeliest_dispersion
from models.training.fit_network import Examples, FitData, FitPlan, fit_network
from schemas.spec import DAY_S

Floats = npt.NDArray[np.float64]
ORIGINS = 3
BIN_WEEKS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Aged:
    """(steps,) mean log scores from an origin to the end of the file: of the network, the same fitted again on all of
    the time before the origin, and the baseline.
    """

    network: Floats
    again: Floats
    baseline: Floats


def aging_of(name: str, *, seeds: Sequence[int], epochs: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """By task: what age costs in percent of the log score, and what the fit on all of the time gains."""
    make, path = TASKS[name]
    task = make(path)
    block = len(task.cube) - task.test
    tasks = [_at(task, block * back) for back in reversed(range(ORIGINS))]
    each = []
    for number, one in enumerate(tasks):
        tell(f"{name}: origin {number + 1} of {ORIGINS}")
        each.append(_aged(one, seeds, epochs))
    return {
        "task": name,
        "seeds": len(seeds),
        "epochs": epochs,
        "block_days": round(block * task.step_s / DAY_S),
        "by_weeks": _by_weeks(each, task, block),
        "fitted_again": _fitted_again(each, task, block),
    }


def _at(task: Task, shift: int) -> Task:
    """The same task with its blocks `shift` steps earlier; what is judged reaches to the end of the file."""
    return replace(task, validation=task.validation - shift, test=task.test - shift)


def _by_weeks(each: Sequence[Aged], task: Task, block: int) -> list[dict[str, Any]]:
    """What each older model loses to the one of the origin before the step, by weeks since its own origin."""
    per_week = task.cube.steps_per_week
    found: dict[int, list[tuple[int, int, int]]] = {}
    for old in range(ORIGINS):
        for newer in range(old + 1, ORIGINS):
            for step in range((newer - old) * block, (newer - old + 1) * block):
                weeks = step // per_week // BIN_WEEKS * BIN_WEEKS
                found.setdefault(weeks, []).append((old, newer, step))
    rows = []
    for weeks, places in sorted(found.items()):
        rows.append(
            {"from_week": weeks} | {side: _paired(each, places, side, task, block) for side in ("network", "baseline")}
        )
    return rows


def _paired(
    each: Sequence[Aged], places: Sequence[tuple[int, int, int]], side: str, task: Task, block: int
) -> dict[str, Any]:
    old = np.array([getattr(each[one], side)[step] for one, _, step in places])
    new = np.array([getattr(each[newer], side)[step - (newer - one) * block] for one, newer, step in places])
    pairs = Counter((one, newer) for one, newer, _ in places)
    blocks = day_blocks(*pairs.values(), steps_per_week=task.cube.steps_per_week)
    return verdict((old - new)[None], blocks, float(new.mean()))


def _fitted_again(each: Sequence[Aged], task: Task, block: int) -> dict[str, Any]:
    """On the block after each origin: the fit on all of the time before it against the one on its first part."""
    apart = np.concatenate([(one.again - one.network)[:block] for one in each])
    blocks = day_blocks(*[block] * len(each), steps_per_week=task.cube.steps_per_week)
    mean = float(np.concatenate([one.network[:block] for one in each]).mean())
    return verdict(apart[None], blocks, mean)


def _aged(task: Task, seeds: Sequence[int], epochs: int) -> Aged:
    data = collect_task(task)
    train, validation = examples_of(data.train), examples_of(data.validation)
    dispersion = likeliest_dispersion(validation.log_usual, validation.counts)
    both = Examples(
        values=torch.cat([train.values, validation.values]), counts=torch.cat([train.counts, validation.counts])
    )
    networks, again = [], []
    for seed in seeds:
        fit = FitData(train=train, validation=validation, dispersion=dispersion)
        network, kept = fit_network(fit, FitPlan(epochs=epochs, seed=seed), lambda epoch, loss: None)
        whole = FitData(train=both, validation=validation.none(), dispersion=dispersion)
        networks.append(network)
        again.append(fit_network(whole, FitPlan(epochs=epochs, seed=seed, kept=kept), lambda epoch, loss: None).network)
    return Aged(
        network=_scored(data, networks, dispersion),
        again=_scored(data, again, dispersion),
        baseline=_scored(data, [None], dispersion),
    )


def _scored(data: Collected, networks: Sequence[RiskNetwork | None], dispersion: Dispersion) -> Floats:
    forecast = log_means(data.test, networks)
    return np.asarray(log_scores(np.exp(forecast), data.test.counts, dispersion[:, 0]).mean(axis=(1, 2)))

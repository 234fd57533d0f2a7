"""`python -m benchmarks tries`: what was tried for a better forecast, judged at three origins of the named tasks.

Scores are kept in out/tries as they are found, so that an interrupted run goes on.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.tries.collected import collect_task
from benchmarks.tries.judged import Tries
from benchmarks.tries.tasks import COUNTRIES
from benchmarks.tries.verdict import verdict
from models.artifact.untrusted_bytes import pack_arrays
from models.evaluation.tasks import TASKS, Task, earlier
from models.measures.paired import day_blocks
from schemas.files import replace_file

Floats = npt.NDArray[np.float64]
KEPT = Path("out/tries")
ORIGINS = 3
STAYING = {"network": "network, the baseline does not follow the level", "baseline": "baseline that does not follow"}


def tries_of(name: str, *, seeds: Sequence[int], epochs: int, tell: Callable[[str], None]) -> dict[str, Any]:
    """Each try on a task against the plain network: percent of its log score, with the interval."""
    make, path = TASKS[name]
    task = make(path)
    tasks = [earlier(task, back) for back in range(ORIGINS - 1, 0, -1)] + [task]
    each = [_kept(name, origin, one, seeds, epochs, tell) for origin, one in enumerate(tasks)]
    return {"task": name, "seeds": len(seeds), "epochs": epochs, "tries": compared(each, task.cube.steps_per_week)}


def compared(each: Sequence[Mapping[str, Floats]], steps_per_week: int) -> dict[str, dict[str, Any]]:
    """By try. each: of one origin, the earliest first, (seeds, steps) log scores by try; `network` is one of them."""
    blocks = day_blocks(*(one["network"].shape[1] for one in each), steps_per_week=steps_per_week)
    mean = float(np.concatenate([one["network"].mean(axis=0) for one in each]).mean())
    found = {}
    for name in each[0]:
        apart = np.concatenate([one[name] - one["network"].mean(axis=0) for one in each], axis=1)
        found[name] = verdict(apart, blocks, mean)
    return found


def _kept(
    name: str, origin: int, task: Task, seeds: Sequence[int], epochs: int, tell: Callable[[str], None]
) -> dict[str, Floats]:
    path = KEPT / f"{name}-{origin}-{len(seeds)}-{epochs}.npz"
    path.parent.mkdir(parents=True, exist_ok=True)
    found = dict(np.load(path)) if path.exists() else {}
    for what, scores in _all(task, COUNTRIES[name], seeds, epochs).items():
        if what not in found:
            found[what] = scores()
            tell(f"{name}, origin {origin}: {what} {found[what].mean():.6f}")
            replace_file(path, pack_arrays(found))
    return found


def _all(task: Task, country: str, seeds: Sequence[int], epochs: int) -> dict[str, Callable[[], Floats]]:
    follows = Tries(data=collect_task(task, country=country), seeds=seeds, epochs=epochs)
    staying = cache(lambda: Tries(data=collect_task(task, follows=False), seeds=seeds, epochs=epochs))
    return {
        **follows.all(),
        STAYING["network"]: lambda: staying().scored(staying().network),
        STAYING["baseline"]: lambda: staying().scored([staying().baseline]),
    }

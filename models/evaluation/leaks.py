"""A forecast that knows the future is refused: the future is changed, and no forecast before it may notice."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from models.cube import Counts, Cube, Floats, type_for
from schemas.errors import LeakError

_FLOAT_NOISE = 1e-5  # relative; a network of 32-bit floats gives as much between two runs
_RAISED = 3  # incidents that are added at most


def refuse_leaks(
    forecast: Callable[[Cube, int], Iterable[Floats]],
    cube: Cube,
    first: int,
    *,
    name: str,
    random: np.random.Generator,
    delay: int,
) -> None:
    """Raise LeakError when the forecast of a step uses counts that are not reported by then.

    forecast: (cube, first) -> (cells, categories) for each step from `first` on. name: the rival, for the message. A
    step is drawn from those judged; all counts from `delay` steps before it on are permuted in time and raised by 1 to
    3, and no forecast up to this step may change. One draw sees every leak that is there at all steps; a leak at few
    steps needs more draws.
    """
    drawn = int(random.integers(first, len(cube)))
    unknown = max(drawn - delay, 0)
    other = replace(cube, counts=_changed(cube.counts, unknown, random))
    both = zip(forecast(cube, first), forecast(other, first), strict=True)
    for step, (before, after) in zip(range(first, drawn + 1), both, strict=False):
        if not np.isclose(before, after, rtol=_FLOAT_NOISE, atol=1e-9, equal_nan=True).all():
            raise LeakError(
                f"{name!r} leaks: its forecast of step {step} changes with the counts from step {unknown} on, none of "
                f"them reported by then (delay {delay})",
                f"let it use only steps before {step - delay}",
            )


def _changed(counts: Counts, unknown: int, random: np.random.Generator) -> Counts:
    """The counts with those from step `unknown` on in another order, and higher."""
    changed = counts.astype(type_for(int(counts.max(initial=0)) + _RAISED))
    future = changed[unknown:]
    random.shuffle(future)
    future += random.integers(1, _RAISED, size=future.shape, dtype=np.int8, endpoint=True)
    return changed

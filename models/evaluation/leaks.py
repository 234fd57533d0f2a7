"""A forecast that knows the future is refused: the future is changed, and no forecast before it may notice."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from models.measures.cube import Cube, Floats
from schemas.errors import LeakError

_FLOAT_NOISE = 1e-5  # relative; a network of 32-bit floats gives as much between two runs


def refuse_leaks(
    forecast: Callable[[Cube, int], Floats],
    cube: Cube,
    first: int,
    *,
    name: str,
    random: np.random.Generator,
    delay: int,
) -> None:
    """Raise LeakError when the forecast of a step uses counts that are not reported by then.

    forecast: (cube, first) -> (steps - first, cells, categories). name: the rival, for the message. A step is drawn
    from those judged; all counts from `delay` steps before it on are permuted in time and raised by 1 to 3, and no
    forecast up to this step may change. One draw sees every leak that is there at all steps; a leak at few
    steps needs more draws.
    """
    drawn = int(random.integers(first, len(cube)))
    unknown = max(drawn - delay, 0)
    counts = cube.counts.copy()
    future = counts[unknown:]
    counts[unknown:] = random.permutation(future) + random.integers(1, 4, size=future.shape, dtype=np.int32)
    rows = drawn - first + 1
    before, after = (forecast(one, first)[:rows] for one in (cube, replace(cube, counts=counts)))
    changed = ~np.isclose(before, after, rtol=_FLOAT_NOISE, atol=1e-9, equal_nan=True).all(axis=(1, 2))
    if changed.any():
        step = first + int(np.argmax(changed))
        raise LeakError(
            f"{name!r} leaks: its forecast of step {step} changes with the counts from step {unknown} on, none of them "
            f"reported by then (delay {delay})",
            f"let it use only steps before {step - delay}",
        )

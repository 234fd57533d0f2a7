"""Incidents whose time is known only as an interval: a weight for each step, or one time drawn inside.

Products that count need whole incidents, so a replay gets one drawn time for each of them: multiple imputation with a
single draw. In expectation a step then counts the incident's aoristic weight; what a draw adds is noise, which a second
seed shows. Source of the weights: Ratcliffe and McCullagh, "Aoristic crime analysis", IJGIS 12(7), 1998.
"""

import numpy as np
import numpy.typing as npt

from schemas.errors import DataError

Seconds = npt.NDArray[np.int64]

MAX_INTERVAL_S = 7 * 86_400  # longer, and the hours of the week are all as likely: the interval says nothing


def aoristic_weights(start_s: Seconds, end_s: Seconds, edges_s: Seconds) -> npt.NDArray[np.float64]:
    """(n, steps) share of each incident's interval [start, end) that lies in each step.

    start_s, end_s: (n,) epoch seconds. edges_s: (steps + 1,) ascending; step j is [edges_s[j], edges_s[j + 1]). A row
    sums to 1 where the steps cover the interval. An interval of zero length is one step. Raises DataError when an
    interval ends before it starts.
    """
    length_s = end_s - start_s
    if (length_s < 0).any():
        raise DataError(f"{int((length_s < 0).sum())} intervals end before they start: leave them out")
    passed_s = edges_s[None, :] - start_s[:, None]  # (n, steps + 1)
    reached = np.where(
        length_s[:, None] > 0,
        np.clip(passed_s / np.maximum(length_s, 1)[:, None], 0, 1),
        passed_s > 0,
    )
    return np.diff(reached, axis=1)


def draw_within(start_s: Seconds, end_s: Seconds, random: np.random.Generator) -> Seconds:
    """(n,) one whole second of each [start, end), all equally likely; the start where both are the same.

    start_s, end_s: (n,) epoch seconds, no end before its start.
    """
    return np.asarray(start_s + random.integers(0, np.maximum(end_s - start_s, 1)))

"""From raw records of a run to figures: rates, the same way for the product and every rival, and latencies."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

Mark = tuple[int, float]  # events done so far, epoch seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Events per second."""

    steady_eps: float  # from the first mark at or after `warm_up_events` to the last mark
    total_eps: float  # from the first read to the last mark
    events: int
    warm_up_events: int
    seconds: float

    def as_dict(self) -> dict[str, float]:
        return {name: round(value, 3) for name, value in asdict(self).items()}


def rate_of(marks: Sequence[Mark], *, started_s: float, warm_up_events: int) -> Rate:
    """Rates of one run. Raises ValueError when nothing was done after the warm-up."""
    last_events, last_s = marks[-1]
    first_events, first_s = next(mark for mark in marks if mark[0] >= min(warm_up_events, last_events))
    if first_s >= last_s:
        raise ValueError(f"all {last_events} events were done in the warm-up: load more of them")
    return Rate(
        steady_eps=(last_events - first_events) / (last_s - first_s),
        total_eps=last_events / (last_s - started_s),
        events=last_events,
        warm_up_events=first_events,
        seconds=last_s - started_s,
    )


def latencies(
    sent: npt.NDArray[np.float64],
    acknowledged_s: npt.NDArray[np.float64],
    end_offsets: Sequence[Mapping[int, int]],
) -> npt.NDArray[np.float64]:
    """(events,) seconds from the intended time to the acknowledgement of the batch that held the event.

    sent: (events, 3 or more) partition, offset, intended epoch seconds. acknowledged_s and end_offsets, by partition:
    one per batch, in order. An event is in the first batch whose end offset in its partition exceeds its own offset.
    Raises IndexError when no batch held an event.
    """
    latency_s = np.empty(len(sent))
    for partition in np.unique(sent[:, 0]):
        ends = np.array([ends.get(int(partition), 0) for ends in end_offsets])
        here = sent[:, 0] == partition
        batch = np.searchsorted(ends, sent[here, 1], side="right")
        latency_s[here] = acknowledged_s[batch] - sent[here, 2]
    return latency_s

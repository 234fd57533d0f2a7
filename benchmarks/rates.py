"""From marks (so many events were done at that time) to rates, the same for the product and every rival."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

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

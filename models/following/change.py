"""What a follower says of its region in a line: since when forecasts follow a change, and at which hours and places."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from models.dispersion import Floats
from models.following.factors import Parts
from models.following.state import FollowerState
from schemas.spec import DAY_S

BEYOND = 1.25  # a factor above it, or below 1 / BEYOND, is worth a word
LASTS_DAYS = 3  # when it has been so for so long
_MOST_RUNS = 3  # of hours that are told one by one
_ALMOST_NONE = 1e-100  # incidents, where none was expected yet
_Signs = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True)
class Shown:
    """Factors on the shortest horizon, over all categories by what each expected: 24 local hours, then the cells."""

    factors: Floats
    expected: Floats

    @classmethod
    def of(cls, state: FollowerState) -> Self:
        parts = Parts.of(state)
        expected = np.concatenate([state.hours[1], state.cells[1]], axis=1) + _ALMOST_NONE
        factors = np.concatenate([parts.hours, parts.cells], axis=1)
        return cls((factors * expected).sum(axis=0) / expected.sum(axis=0), expected.sum(axis=0))

    @property
    def signs(self) -> _Signs:
        return (self.factors > BEYOND).astype(int) - (self.factors < 1 / BEYOND)


def followed_change(shown: Callable[[int], Shown | None], now_s: int) -> tuple[int, str] | None:
    """(since when, what) as `05 to 08 h x 1.9, 12 cells x 2.1`; None where no factor has been beyond BEYOND for
    LASTS_DAYS. Hours are local.

    shown: what was shown at a time; None where nothing was. It is asked a day apart.
    """
    newest = shown(now_s)
    if newest is None:
        return None
    lasting, days, signs = newest.signs, 0, newest.signs
    while signs.any():
        lasting, before = signs, shown(now_s - (days + 1) * DAY_S)
        if before is None:
            break
        signs, days = np.where(before.signs == lasting, lasting, 0), days + 1
        if days <= LASTS_DAYS:
            said = signs
    days -= not signs.any()
    if days < LASTS_DAYS:
        return None
    return now_s - days * DAY_S, ", ".join(_words(newest, said))


def _words(newest: Shown, signs: _Signs) -> Iterator[str]:
    runs = [(begin, length, (begin + np.arange(length)) % 24) for begin, length in _runs(signs[:24])]
    for begin, length, hours in runs[:_MOST_RUNS]:
        span = "all hours" if length == 24 else f"{begin:02d} to {(begin + length) % 24:02d} h"
        yield f"{span} x {_mean(newest, hours)}"
    if more := sum(length for _, length, _ in runs[_MOST_RUNS:]):
        yield f"{more} other hours"
    for sign in (1, -1):
        if len(cells := 24 + np.flatnonzero(signs[24:] == sign)):
            yield f"{len(cells)} cell{'s' if len(cells) > 1 else ''} x {_mean(newest, cells)}"


def _mean(newest: Shown, places: npt.NDArray[np.integer[Any]]) -> str:
    return f"{np.average(newest.factors[places], weights=newest.expected[places]):.1f}"


def _runs(signs: _Signs) -> Iterator[tuple[int, int]]:
    """(first, length) of hours one after the other around the clock that have the same sign, but for 0."""
    if (signs == signs[0]).all():
        yield from [(0, 24)] if signs[0] else []
        return
    begins = np.flatnonzero(signs != np.roll(signs, 1))
    ends = [*begins[1:], begins[0] + 24]
    yield from ((int(begin), int(end - begin)) for begin, end in zip(begins, ends, strict=True) if signs[begin])

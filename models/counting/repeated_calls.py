"""The rule for repeated calls: several people report one incident. The same for files, training and the stream.

It depends only on which incidents there are, not on the order in which they are reported or read.
"""

from dataclasses import dataclass, fields
from itertools import product

import numpy as np
import numpy.typing as npt

from models.counting.registry import Records
from schemas.incidents import NO_PLACE, Incidents, in_radians

WITHIN_M, WITHIN_S = 200.0, 900
_EARTH_M = 6_371_008.8  # mean radius of the IUGG
_WITHIN_RAD = WITHIN_M / _EARTH_M * 1.001  # a little more, for rounding
_STEP_RAD = float(np.radians(1e-7))  # of a place
_TURN = 3_600_000_000  # steps of longitude around the earth
_CATEGORIES = 1 << 15  # more than there are


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """What the rule asks of some incidents, one array per column, each (n,) but `place`."""

    occurred_s: npt.NDArray[np.int64]
    order: npt.NDArray[np.uint64]  # of those in one second: all different
    category: npt.NDArray[np.int16]
    place: npt.NDArray[np.int32]  # (n, 2), see `schemas.incidents.fixed_places`

    @classmethod
    def of(cls, incidents: Incidents | Records) -> "Calls":
        return cls(
            occurred_s=incidents.occurred_s, order=incidents.key, category=incidents.category, place=incidents.place
        )

    def select(self, chosen: npt.NDArray[np.intp]) -> "Calls":
        return Calls(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})


def repeats(calls: Calls) -> npt.NDArray[np.bool_]:
    """(n,) whether each call repeats an earlier one.

    It does when one of its category is earlier (in one second, by `order`), at most WITHIN_S before and at most
    WITHIN_M away along the great circle (haversine, mean radius), both limits included. The earlier call may itself
    be a repeat, so of a chain of calls only the first counts. Without the condition on the category, the ambulance to
    an accident that the police reported would not count. A call without a place takes no part.
    """
    placed = np.flatnonzero(calls.place[:, 0] != NO_PLACE)
    by_time = placed[np.lexsort((calls.order[placed], calls.occurred_s[placed]))]
    repeated = np.zeros(len(calls.occurred_s), np.bool_)
    if len(placed):
        repeated[by_time] = _repeats_in_order(calls.select(by_time))
    return repeated


def _repeats_in_order(calls: Calls) -> npt.NDArray[np.bool_]:
    """(n,) whether each repeats one before it. calls: in the order of time, all with a place."""
    occurred_s = calls.occurred_s
    since = np.searchsorted(occurred_s, occurred_s - WITHIN_S)  # rank of the first call that is not too early
    places, squares = in_radians(calls.place), _Squares.of(calls.category, calls.place)
    open_, repeated = np.arange(len(occurred_s)), np.zeros(len(occurred_s), np.bool_)
    for north, east in sorted(product((-1, 0, 1), repeat=2), key=lambda step: step != (0, 0)):
        first, last = squares.ranks_between(open_, since[open_], north, east)
        is_near = _any_near(places, squares.by_square, open_, first, last)
        repeated[open_[is_near]] = True
        open_ = open_[~is_near]
    return repeated


@dataclass(frozen=True, slots=True, kw_only=True)
class _Squares:
    """Calls in the order of time, by category and by squares no smaller than the distance: what is near is next door.

    A square's number has its row, column and category; `numbers` are those in use, and `place` is sorted by (square,
    rank): a square's place among them times the number of calls, plus the rank of the call.
    """

    category: npt.NDArray[np.int16]  # (n,), as the next two
    row: npt.NDArray[np.int64]
    column: npt.NDArray[np.int64]
    columns: int  # around the earth
    numbers: npt.NDArray[np.int64]
    place: npt.NDArray[np.int64]
    by_square: npt.NDArray[np.int64]  # (n,) ranks in the order of `place`

    @classmethod
    def of(cls, category: npt.NDArray[np.int16], place: npt.NDArray[np.int32]) -> "_Squares":
        lat = np.abs(in_radians(place[:, 0])).max() + _WITHIN_RAD
        columns = max(1, int(6 * np.cos(lat) / np.sin(_WITHIN_RAD)))  # around a pole only one
        north, east = place.astype(np.int64).T
        row, column = north // int(_WITHIN_RAD / _STEP_RAD), east * columns // _TURN % columns
        numbers, square = np.unique((row * columns + column) * _CATEGORIES + category, return_inverse=True)
        ranked = square * len(row) + np.arange(len(row))
        by_square = np.argsort(ranked)
        return cls(
            category=category,
            row=row,
            column=column,
            columns=columns,
            numbers=numbers,
            place=ranked[by_square],
            by_square=by_square,
        )

    def ranks_between(
        self, rank: npt.NDArray[np.int64], since: npt.NDArray[np.int64], north: int, east: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """For each call, where in `by_square` those of a square next door begin and end that are in [since, rank)."""
        column = (self.column[rank] + east) % self.columns
        wanted = ((self.row[rank] + north) * self.columns + column) * _CATEGORIES + self.category[rank]
        square = np.minimum(np.searchsorted(self.numbers, wanted), len(self.numbers) - 1)
        first, last = (np.searchsorted(self.place, square * len(self.row) + edge) for edge in (since, rank))
        return np.where(self.numbers[square] == wanted, first, last), last


def _any_near(
    places: npt.NDArray[np.float64],
    by_square: npt.NDArray[np.int64],
    rank: npt.NDArray[np.int64],
    first: npt.NDArray[np.int64],
    last: npt.NDArray[np.int64],
) -> npt.NDArray[np.bool_]:
    """(m,) whether one of by_square[first:last] is near, the latest looked at first: most repeats follow at once."""
    is_near = np.zeros(len(rank), np.bool_)
    left = np.flatnonzero(last > first)
    back = 1
    while len(left):
        other = by_square[last[left] - back]
        is_near[left] = _metres(places[other], places[rank[left]]) <= WITHIN_M
        back += 1
        left = left[~is_near[left] & (last[left] - back >= first[left])]
    return is_near


def _metres(place: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(n,) great-circle distances of places in radians, (n, 2) each, by the haversine formula."""
    lat, other_lat = place[:, 0], other[:, 0]
    across = np.sin((other[:, 1] - place[:, 1]) / 2) ** 2
    square = np.sin((other_lat - lat) / 2) ** 2 + np.cos(lat) * np.cos(other_lat) * across
    return np.asarray(2 * _EARTH_M * np.arcsin(np.sqrt(square)))

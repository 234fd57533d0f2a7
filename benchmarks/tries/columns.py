"""Columns that might tell the network more, by family. Each is computed from whole hours before the moment."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from types import MappingProxyType

import holidays
import numpy as np
import numpy.typing as npt

from models.baseline import BaselineConstants, cell_rate
from models.local_time import local_from_utc
from models.neighbours import ring_sum
from models.training.replay import IncidentHistory
from schemas.grid import Grid
from schemas.spec import DAY_S, HOUR_S, Spec

Floats = npt.NDArray[np.float64]
EXCITED_HOURS = (2, 6, 24, 72)
DAYS_OF_YEAR = 365.2425
_PRIOR = 5.0  # incidents on both sides of a ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """A history by whole hours. Index 0 of an axis of hours is the start of `first_hour`."""

    spec: Spec
    constants: BaselineConstants
    first_hour: int
    total: npt.NDArray[np.int32]  # (hours + 1, cells, categories) incidents before each hour
    excited: Mapping[int, npt.NDArray[np.float32]]  # the same, decayed with each of EXCITED_HOURS
    holidays: frozenset[date]

    @classmethod
    def of(cls, history: IncidentHistory, constants: BaselineConstants, country: str) -> "Past":
        incidents, spec = history.incidents, history.spec
        first = history.first_s // HOUR_S
        counts = np.zeros((history.cutoff_s // HOUR_S - first + 2, spec.grid.cells, len(spec.categories)), np.int32)
        np.add.at(counts, (incidents.occurred_s // HOUR_S - first, incidents.cell, incidents.category), 1)
        total = np.zeros((len(counts) + 1, *counts.shape[1:]), np.int32)
        np.cumsum(counts, axis=0, out=total[1:])
        nation, _, part = country.partition("-")
        first_year, last_year = (datetime.fromtimestamp(at_s, UTC).year for at_s in (history.first_s, history.cutoff_s))
        years = range(first_year - 1, last_year + 2)
        return cls(
            spec=spec,
            constants=constants,
            first_hour=int(first),
            total=total,
            excited={hours: _decayed(counts, hours) for hours in EXCITED_HOURS},
            holidays=frozenset(holidays.country_holidays(nation, subdiv=part or None, years=years)),
        )

    def window(self, at_s: int, days: int, *, skip_days: int = 0) -> tuple[npt.NDArray[np.int32], float]:
        """(cells, categories) incidents of the `days` before `skip_days` before, and how many days are known."""
        stop = max(at_s // HOUR_S - self.first_hour - 24 * skip_days, 0)
        start = max(stop - 24 * days, 0)
        return self.total[stop] - self.total[start], (stop - start) / 24

    def region(self, at_s: int, days: int, *, skip_days: int = 0) -> tuple[Floats, float]:
        """(categories,) the same of the region."""
        counts, known = self.window(at_s, days, skip_days=skip_days)
        return counts.sum(axis=0, dtype=np.float64), known

    def everywhere(self, *values: Floats | float) -> npt.NDArray[np.float32]:
        """(cells, categories, columns) of numbers of the region, by category or for all."""
        shape = self.total.shape[1:]
        return np.stack([np.broadcast_to(value, shape) for value in values], axis=-1).astype(np.float32)


def _decayed(counts: npt.NDArray[np.int32], half_life_hours: int) -> npt.NDArray[np.float32]:
    keep = 0.5 ** (1 / half_life_hours)
    found = np.zeros((len(counts) + 1, *counts.shape[1:]), np.float32)
    for hour, count in enumerate(counts):
        found[hour + 1] = keep * (found[hour] + count)
    return found


def _square_sum(values: Floats, grid: Grid, reach: int) -> tuple[Floats, Floats]:
    """Sums over the square of cells up to `reach` away, and how many cells it has."""
    rows, cols = np.divmod(np.arange(grid.cells), grid.cols)
    south, north = np.maximum(rows - reach, 0), np.minimum(rows + reach + 1, grid.rows)
    west, east = np.maximum(cols - reach, 0), np.minimum(cols + reach + 1, grid.cols)
    table = np.zeros((grid.rows + 1, grid.cols + 1, values.shape[1]))
    table[1:, 1:] = values.reshape(grid.rows, grid.cols, -1).cumsum(axis=0).cumsum(axis=1)
    total = table[north, east] - table[south, east] - table[north, west] + table[south, west]
    return total, ((north - south) * (east - west))[:, None].astype(np.float64)


def _holidays(past: Past, at_s: int) -> npt.NDArray[np.float32]:
    local = int(local_from_utc(np.array([at_s]), past.spec.timezone)[0])
    today = date(1970, 1, 1) + timedelta(days=local // DAY_S)
    return past.everywhere(*(float(today + timedelta(days=days) in past.holidays) for days in (0, 1, -1)))


def _season(past: Past, at_s: int) -> npt.NDArray[np.float32]:
    angle = 2 * np.pi * (at_s / DAY_S % DAYS_OF_YEAR) / DAYS_OF_YEAR
    return past.everywhere(*(wave(turns * angle) for turns in (1, 2) for wave in (np.sin, np.cos)))


def _last_year(past: Past, at_s: int) -> npt.NDArray[np.float32]:
    """The 7 and 28 days that followed this moment a year ago, over the 28 before them; 0 where they are not known."""
    before, known = past.region(at_s, 28, skip_days=364)
    columns: list[Floats | float] = []
    for days in (7, 28):
        after, _ = past.region(at_s, days, skip_days=364 - days)
        for new, old in ((after, before), (after.sum(), before.sum())):
            ratio = np.log((new + _PRIOR) / (old * days / 28 + _PRIOR))
            columns.append(ratio if known == 28 else 0.0)
    return past.everywhere(*columns)


def _momentum(past: Past, at_s: int) -> npt.NDArray[np.float32]:
    """The region's rate of some windows over that of a year."""
    year, days_of_year = past.region(at_s, 364)
    columns: list[Floats | float] = []
    for days in (7, 14, 28, 56, 91, 182):
        count, known = past.region(at_s, days)
        for new, old in ((count, year), (count.sum(), year.sum())):
            columns.append(np.log((new / max(known, 1 / 24) + 0.5) / (old / max(days_of_year, 1 / 24) + 0.5)))
    return past.everywhere(*columns)


def _smoothing(past: Past, at_s: int) -> npt.NDArray[np.float32]:
    """Rates of squares of 3 x 3, 5 x 5 and 9 x 9 cells, of 28 days and of a year."""
    columns = []
    for days in (28, 364):
        counts, known = past.window(at_s, days)
        for reach in (1, 2, 4):
            total, cells = _square_sum(counts.astype(np.float64), past.spec.grid, reach)
            columns.append(np.log((total + 2 * (counts.mean(axis=0) + 1e-3)) / (cells + 2)) - np.log(max(known, 1)))
    return np.stack(columns, axis=-1).astype(np.float32)


def _excited(past: Past, at_s: int) -> npt.NDArray[np.float32]:
    """Decayed sums of the cell, of the ring around it, of the ring around that, and of all categories."""
    columns = []
    for decayed in past.excited.values():
        own = decayed[at_s // HOUR_S - past.first_hour].astype(np.float64)
        ring = ring_sum(own, past.spec.grid)
        wide, _ = _square_sum(own, past.spec.grid, 2)
        columns += [own, ring, wide - ring - own, np.broadcast_to(own.sum(axis=1, keepdims=True), own.shape)]
    return np.asarray(np.log1p(np.stack(columns, axis=-1)), np.float32)


def _memory(past: Past, at_s: int) -> npt.NDArray[np.float32]:
    """The cell's shrunk rate over all of the past, and over the newest 14, 60 and 400 days."""
    columns = []
    for days in (14, 60, 400, 10**5):
        counts, known = past.window(at_s, days)
        columns.append(np.log(cell_rate(counts.astype(np.float64), known, past.constants, past.spec)))
    return np.stack(columns, axis=-1).astype(np.float32)


CANDIDATES: Mapping[str, Callable[[Past, int], npt.NDArray[np.float32]]] = MappingProxyType(
    {
        "holidays": _holidays,
        "season": _season,
        "same weeks of last year": _last_year,
        "momentum of the level": _momentum,
        "smoothing at three scales": _smoothing,
        "learned self-exciting sums": _excited,
        "memory at more lengths": _memory,
    }
)

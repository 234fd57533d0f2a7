"""Two made-up regions whose process is known: incidents that draw others after them, and in one of them a change."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.files.incident_files import IncidentTable
from schemas.grid import Grid
from schemas.spec import DAY_S, HOUR_S

Floats = npt.NDArray[np.float64]

START_S = 1_704_067_200  # Monday, 2024-01-01 00:00 UTC
CATEGORIES = ("ems", "fire")
LAYOUT = "time=when,lat=lat,lon=lon,category=kind,timezone=UTC"
_PEAKS = (17.0, 21.0)  # hour of the day at which most of each category happens
_SHARES = (0.6, 0.4)  # of each category
_FOLLOWED = 0.3  # mean number of incidents that an incident draws after it, in its own cell and category
_DELAY_S = 4 * HOUR_S  # mean time until they happen


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A region's process. From `change_day` on, everything happens `level` times as often and `hours` hours later."""

    name: str
    side: int  # cells
    per_day: float  # incidents before the change
    days: int
    seed: int
    change_day: int | None = None
    level: float = 1.5
    hours: float = 6.0

    @property
    def grid(self) -> Grid:
        return Grid(south_deg=41.0, west_deg=-87.0, cell_m=1000, rows=self.side, cols=self.side)

    def places(self) -> Floats:
        """(cells,) share of the region's incidents."""
        lively = np.random.default_rng(self.seed).gamma(1.2, 1.0, self.side**2)
        return np.asarray(lively / lively.sum())

    def background(self, at_s: int) -> Floats:
        """(categories,) incidents in the hour from `at_s` on that no other has drawn."""
        has_changed = self.change_day is not None and at_s >= START_S + self.change_day * DAY_S
        level, hours = (self.level, self.hours) if has_changed else (1.0, 0.0)
        rates = np.array([share * _lively(at_s, peak + hours) for share, peak in zip(_SHARES, _PEAKS, strict=True)])
        return np.asarray(self.per_day / 24 * level * (1 - _FOLLOWED) * rates)


def _lively(at_s: int, peak: float) -> float:
    """Of an hour, against the mean of the week."""
    hour, is_weekend = (at_s % DAY_S) / HOUR_S + 0.5, (at_s - START_S) // DAY_S % 7 >= 5
    # exp(cos) has the mean I0(1) = 1.2661 over a day; five days of 1.06 and two of 0.85 have the mean 1.
    return float(np.exp(np.cos(2 * np.pi * (hour - peak) / 24))) / 1.2661 * (0.85 if is_weekend else 1.06)


def incidents_of(world: World) -> IncidentTable:
    """All of the world's days, drawn with its seed."""
    random = np.random.default_rng(world.seed + 1)
    cells, categories, first_s = world.side**2, len(CATEGORIES), START_S
    hours = np.arange(world.days * 24) * HOUR_S + first_s
    means = np.stack([world.background(at_s) for at_s in hours.tolist()])[:, None, :] * world.places()[:, None]
    counts = random.poisson(means).ravel()
    place = np.repeat(np.arange(counts.size), counts)
    born = hours[place // (cells * categories)] + random.integers(0, HOUR_S, len(place))
    place = place % (cells * categories)
    all_s, all_places = [born], [place]
    while len(born):
        children = random.poisson(_FOLLOWED, len(born))
        born = np.repeat(born, children) + random.exponential(_DELAY_S, children.sum()).astype(np.int64)
        place = np.repeat(place, children)
        all_s.append(born)
        all_places.append(place)
    return _table(world, np.concatenate(all_s), np.concatenate(all_places), random)


def _table(
    world: World, occurred_s: npt.NDArray[np.int64], place: npt.NDArray[np.int64], random: np.random.Generator
) -> IncidentTable:
    order = np.argsort(occurred_s, kind="stable")
    order = order[occurred_s[order] < START_S + world.days * DAY_S]
    lat, lon = world.grid.centres()
    cell = place[order] // len(CATEGORIES)
    return IncidentTable(
        layout="made up",
        timezone="UTC",
        occurred_s=occurred_s[order],
        lat_deg=lat[cell] + random.uniform(-0.003, 0.003, len(cell)),
        lon_deg=lon[cell] + random.uniform(-0.003, 0.003, len(cell)),
        category=(place[order] % len(CATEGORIES)).astype(np.int16),
        row=np.arange(1, len(order) + 1),
        categories=CATEGORIES,
    )


def expected_hours(world: World, table: IncidentTable) -> Iterator[tuple[int, Floats]]:
    """Each whole hour, and (cells, categories) what the process itself expects of it, knowing all that was before.

    What incidents of the hour draw inside it is counted to the first order.
    """
    fade = np.exp(-HOUR_S / _DELAY_S)
    inside = 1 + _FOLLOWED * (1 - _DELAY_S / HOUR_S * (1 - fade))
    cell, _ = world.grid.locate(table.lat_deg, table.lon_deg)
    place = cell.astype(np.intp) * len(CATEGORIES) + table.category
    shape, living = (world.side**2, len(CATEGORIES)), np.zeros(world.side**2 * len(CATEGORIES))
    places, position = world.places()[:, None], 0
    for at_s in range(START_S, START_S + world.days * DAY_S, HOUR_S):
        drawn = _FOLLOWED * (1 - fade) * living.reshape(shape)
        yield at_s, (world.background(at_s) * places + drawn) * inside
        until = int(np.searchsorted(table.occurred_s, at_s + HOUR_S))
        age_s = at_s + HOUR_S - table.occurred_s[position:until]
        living = living * fade
        np.add.at(living, place[position:until], np.exp(-age_s / _DELAY_S))
        position = until


def write_file(table: IncidentTable, path: Path) -> Path:
    """As an incident file in LAYOUT."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["when", "lat", "lon", "kind"])
        columns = (table.occurred_s, table.lat_deg, table.lon_deg, table.category)
        for at_s, lat, lon, category in zip(*(column.tolist() for column in columns), strict=True):
            writer.writerow([datetime.fromtimestamp(at_s, UTC).isoformat(), f"{lat:.6f}", f"{lon:.6f}",
                             table.categories[category]])  # fmt: skip
    return path

"""Cities that change in known ways: incidents doubled, thinned, moved in time or place, a silent feed, a burst.

One of them is made up: its incidents draw others after them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from models.evaluation.published import DATA
from models.features import FeatureEngine
from models.files.incident_files import IncidentTable, read_incidents
from models.files.layouts import LAYOUTS
from models.scoring import means
from models.training.region_spec import spec_for
from models.training.replay import IncidentHistory, Replay
from models.training.train import Trained, TrainingOptions, train
from schemas.errors import DataError
from schemas.grid import Grid
from schemas.spec import DAY_S, HOUR_S, Spec

DAYS, CHANGE_DAY, APART_DAYS = 91, 14, 35  # of a bed; until its change; between the starts of two origins
SHIFT_H, SILENT_H, BURST_H = 6, 6, 12
STORM = "storm"  # a bed of its own: nothing is changed, and a real storm begins on the day of the change
STORM_S = int(datetime(2016, 1, 23, tzinfo=UTC).timestamp())
Floats = npt.NDArray[np.floating]

START_S = 1_704_067_200  # of the made-up city: Monday, 2024-01-01 00:00 UTC
_CATEGORIES = ("ems", "fire")
_PEAKS = (17.0, 21.0)  # hour of the day at which most of each category happens
_SHARES = (0.6, 0.4)  # of each category
_FOLLOWED = 0.3  # mean number of incidents that an incident draws after it, in its own cell and category
_DELAY_S = 4 * HOUR_S  # mean time until they happen


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """The process of a made-up city."""

    side: int  # cells
    per_day: float  # incidents
    days: int
    seed: int

    @property
    def grid(self) -> Grid:
        return Grid(south_deg=41.0, west_deg=-87.0, cell_m=1000, rows=self.side, cols=self.side)

    def places(self) -> Floats:
        """(cells,) share of the city's incidents."""
        lively = np.random.default_rng(self.seed).gamma(1.2, 1.0, self.side**2)
        return np.asarray(lively / lively.sum())

    def background(self, at_s: int) -> Floats:
        """(categories,) incidents in the hour from `at_s` on that no other has drawn."""
        rates = np.array([share * _lively(at_s, peak) for share, peak in zip(_SHARES, _PEAKS, strict=True)])
        return np.asarray(self.per_day / 24 * (1 - _FOLLOWED) * rates)


def _lively(at_s: int, peak: float) -> float:
    """Of an hour, against the mean of the week."""
    hour, is_weekend = (at_s % DAY_S) / HOUR_S + 0.5, (at_s - START_S) // DAY_S % 7 >= 5
    # exp(cos) has the mean I0(1) = 1.2661 over a day; five days of 1.06 and two of 0.85 have the mean 1.
    return float(np.exp(np.cos(2 * np.pi * (hour - peak) / 24))) / 1.2661 * (0.85 if is_weekend else 1.06)


def incidents_of(world: World) -> IncidentTable:
    """All of the world's days, drawn with its seed."""
    random = np.random.default_rng(world.seed + 1)
    cells, categories = world.side**2, len(_CATEGORIES)
    hours = np.arange(world.days * 24) * HOUR_S + START_S
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
    occurred_s, place = np.concatenate(all_s), np.concatenate(all_places)
    order = np.argsort(occurred_s, kind="stable")
    order = order[occurred_s[order] < START_S + world.days * DAY_S]
    lat, lon = world.grid.centres()
    cell = place[order] // categories
    return IncidentTable(
        layout="made up",
        timezone="UTC",
        occurred_s=occurred_s[order],
        lat_deg=lat[cell] + random.uniform(-0.003, 0.003, len(cell)),
        lon_deg=lon[cell] + random.uniform(-0.003, 0.003, len(cell)),
        category=(place[order] % categories).astype(np.int16),
        row=np.arange(1, len(order) + 1),
        categories=_CATEGORIES,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class City:
    """A region's incidents, and what was learned of those before `start_s`, where its hours begin."""

    table: IncidentTable
    start_s: int
    trained: Trained
    seed: int

    @property
    def change_s(self) -> int:
        return self.start_s + CHANGE_DAY * DAY_S

    @property
    def spec(self) -> Spec:
        return self.trained.past.spec

    def places(self) -> npt.NDArray[np.intp]:
        """(cells,) where what happens in each happens in the bed `cells`: half of the lively ones change places."""
        lively = np.unique(self.trained.past.incidents.cell)
        chosen = np.random.default_rng(self.seed + 1).choice(lively, len(lively) // 2, replace=False)
        places = np.arange(self.spec.grid.cells)
        places[chosen] = np.roll(chosen, 1)
        return places


def city_of(name: str, *, origin: int, options: TrainingOptions, is_storm: bool = False) -> City:
    """One of CITIES at one of its origins, 0 for the last. Raises DataError where its file is absent or too short."""
    table, cell_m = CITIES[name]()
    start_s = int(table.occurred_s[-1]) // DAY_S * DAY_S - (DAYS + origin * APART_DAYS) * DAY_S
    start_s = STORM_S - CHANGE_DAY * DAY_S if is_storm else start_s
    spec = spec_for(table, region=name, cell_m=cell_m, cutoff_s=start_s)
    trained = train(IncidentHistory.of(table, spec, start_s), options, report=lambda what, share: None)
    return City(table=table, start_s=start_s, trained=trained, seed=options.seed)


def _file(name: str, layout: str, cell_m: float) -> Callable[[], tuple[IncidentTable, float]]:
    def read() -> tuple[IncidentTable, float]:
        if not (DATA / name).exists():
            raise DataError(f"{DATA / name} is not there", "fetch the file, or leave its city out")
        return read_incidents(DATA / name, LAYOUTS[layout]), cell_m

    return read


def _simulated() -> tuple[IncidentTable, float]:
    return incidents_of(World(side=8, per_day=200.0, days=210 + DAYS, seed=3)), 1000.0


CITIES: Mapping[str, Callable[[], tuple[IncidentTable, float]]] = MappingProxyType(
    {
        "simulated": _simulated,
        "montgomery": _file("montgomery_911_2015_2016.zip", "montgomery", 4000.0),
        "chicago": _file("chicago_2016_2017.zip", "chicago", 2000.0),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CityChange:
    """What happens to incidents, and to a forecast that knows it. Of both, only what lies after the change is used."""

    incidents: Callable[[City, np.random.Generator], IncidentTable]
    oracle: Callable[[City, Floats], Floats] = lambda city, raw: raw  # (hours, cells, categories), of a city unchanged


def _after(city: City) -> npt.NDArray[np.bool_]:
    return np.asarray(city.table.occurred_s >= city.change_s)


def added(table: IncidentTable, *extra: IncidentTable) -> IncidentTable:
    """All of them, in the order of time; each has an id of its own."""
    columns = ("occurred_s", "lat_deg", "lon_deg", "category")
    joined = {name: np.concatenate([getattr(part, name) for part in (table, *extra)]) for name in columns}
    order = np.argsort(joined["occurred_s"], kind="stable")
    return replace(table, row=np.arange(1, len(order) + 1), **{name: of[order] for name, of in joined.items()})


def _more(city: City, draw: np.random.Generator) -> IncidentTable:
    return added(city.table, city.table.select(_after(city) & (draw.random(len(city.table)) < 0.5)))


def _fewer(city: City, draw: np.random.Generator) -> IncidentTable:
    return city.table.select(~_after(city) | (draw.random(len(city.table)) < 0.5))


def _most(city: City) -> int:
    """The most frequent category."""
    return int(np.bincount(city.table.category).argmax())


def _doubled(city: City, draw: np.random.Generator) -> IncidentTable:
    return added(city.table, city.table.select(_after(city) & (city.table.category == _most(city))))


def later(city: City, table: IncidentTable) -> IncidentTable:
    """What happens after the change happens SHIFT_H later; the hours left empty have what came in those before them."""
    moved = table.select(table.occurred_s >= city.change_s - SHIFT_H * HOUR_S)
    moved = replace(moved, occurred_s=moved.occurred_s + SHIFT_H * HOUR_S)
    return added(table.select(table.occurred_s < city.change_s), moved)


def _elsewhere(city: City, draw: np.random.Generator) -> IncidentTable:
    cell, inside = city.spec.grid.locate(city.table.lat_deg, city.table.lon_deg)
    lat, lon = city.spec.grid.centres()
    there, moved = city.places()[np.where(inside, cell, 0)], inside & _after(city)
    lat_deg, lon_deg = np.where(moved, lat[there], city.table.lat_deg), np.where(moved, lon[there], city.table.lon_deg)
    return replace(city.table, lat_deg=lat_deg, lon_deg=lon_deg)


def _within(city: City, day: float, hours: int) -> npt.NDArray[np.bool_]:
    """Of the hours that begin so many days after the change."""
    from_s = city.change_s + int(day * DAY_S)
    return np.asarray((city.table.occurred_s >= from_s) & (city.table.occurred_s < from_s + hours * HOUR_S))


def _silent(city: City, draw: np.random.Generator) -> IncidentTable:
    return city.table.select(~_within(city, 0.5, SILENT_H) & ~_within(city, 5.25, SILENT_H))


def _burst(city: City, draw: np.random.Generator) -> IncidentTable:
    return added(city.table, *[city.table.select(_within(city, 0.5, BURST_H))] * 3)


def _doubles(city: City, raw: Floats) -> Floats:
    return np.asarray(raw * np.where(np.arange(raw.shape[2]) == _most(city), 2, 1))


def _moves(city: City, raw: Floats) -> Floats:
    moved = np.empty_like(raw)
    moved[:, city.places()] = raw
    return moved


BEDS: Mapping[str, CityChange] = MappingProxyType(
    {
        "unchanged": CityChange(incidents=lambda city, draw: city.table),
        "level x1.5": CityChange(incidents=_more, oracle=lambda city, raw: 1.5 * raw),
        "level x0.5": CityChange(incidents=_fewer, oracle=lambda city, raw: 0.5 * raw),
        "category x2": CityChange(incidents=_doubled, oracle=_doubles),
        "hours +6": CityChange(
            incidents=lambda city, draw: later(city, city.table), oracle=lambda city, raw: np.roll(raw, SHIFT_H, axis=0)
        ),
        "both": CityChange(
            incidents=lambda city, draw: later(city, _more(city, draw)),
            oracle=lambda city, raw: 1.5 * np.roll(raw, SHIFT_H, axis=0),
        ),
        "cells": CityChange(incidents=_elsewhere, oracle=_moves),
        "silent": CityChange(incidents=_silent),
        "burst": CityChange(incidents=_burst),
        STORM: CityChange(incidents=lambda city, draw: city.table),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bed:
    """Raw forecasts of every hour, and the counts of each and of the day behind the last."""

    raw: npt.NDArray[np.float32]  # (hours, cells, categories, horizons)
    counts: npt.NDArray[np.int32]  # (hours + 24, cells, categories)


def bed_of(city: City, change: str) -> Bed:
    """The served network's forecasts of the changed city, made in the order of time."""
    hours = (city.start_s + HOUR_S * np.arange((DAYS - 1) * 24)).tolist()
    table = BEDS[change].incidents(city, np.random.default_rng(city.seed))
    past = IncidentHistory.of(table, city.spec, hours[-1] + 2 * DAY_S)
    replay, engine = Replay(past), FeatureEngine(city.spec, city.trained.constants)
    features = (engine.compute(replay.lead_to(at_s)).values for at_s in hours)
    raw = np.stack([means(values, city.trained.network, city.spec)[1] for values in features])
    more = [hours[-1] + HOUR_S * number for number in range(1, 25)]
    return Bed(raw=raw, counts=np.stack([past.counts(at_s, at_s + HOUR_S) for at_s in (*hours, *more)]))

"""Cities that change in known ways, one of them made up: what following and the nowcast gain there, and cost elsewhere.

A city is trained by what `train` does until each of some moments, and judged on the days after it. The made-up one has
incidents that draw others after them.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.table import Table

from benchmarks.stack import Say, table_of
from models.comparison import day_blocks, difference_of
from models.dispersion import Dispersion, log_scores
from models.evaluation.evaluation_report import SURGE_HEADINGS, surge_texts
from models.evaluation.judge import SurgeFigures, SurgeRow, is_surge, surge_rows
from models.features import FeatureEngine
from models.files.incident_files import IncidentTable, read_incidents
from models.files.layouts import LAYOUTS
from models.follower import Follower, SequentialFollowing, served_delay_s
from models.following import FollowerState
from models.nowcast import LastHours, no_nowcast
from models.scoring import means, surges_of
from models.training.replay import IncidentHistory, Replay
from models.training.train import Trained, TrainingOptions, train
from models.training.train_region import spec_for
from schemas.errors import DataError
from schemas.grid import Grid
from schemas.spec import DAY_S, HOUR_S, Spec

DATA = Path("../shared/data")
Floats = npt.NDArray[np.floating]
Counts = npt.NDArray[np.integer[Any]]

DAYS, CHANGE_DAY, APART_DAYS = 91, 14, 35  # of a bed; until its change; between the starts of two origins
SHIFT_H, SILENT_H, BURST_H = 6, 6, 12

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


def cities_of(names: Sequence[str], *, origins: int, seeds: int, quick: bool, say: Say) -> Iterator[tuple[City, int]]:
    """Each of CITIES by name, trained until each origin, 0 the last, with each seed; with its origin.

    One whose file is absent or too short is left out.
    """
    for name, origin, seed in product(names, range(origins), range(seeds)):
        try:
            table, cell_m = CITIES[name]()
            start_s = int(table.occurred_s[-1]) // DAY_S * DAY_S - (DAYS + origin * APART_DAYS) * DAY_S
            past = IncidentHistory.of(table, spec_for(table, region=name, cell_m=cell_m, cutoff_s=start_s), start_s)
            options = TrainingOptions(step_s=(720 if quick else 180) * 60, epochs=2 if quick else 12, seed=seed)
            city = City(table=table, start_s=start_s, trained=train(past, options, report=lambda *_: None), seed=seed)
        except DataError as error:
            say(f"{name}, origin {origin}, is left out: {error}")
        else:
            yield city, origin


def _of_file(name: str, layout: str, cell_m: float) -> tuple[IncidentTable, float]:
    if not (DATA / name).exists():
        raise DataError(f"{DATA / name} is not there", "fetch the file, or leave its city out")
    return read_incidents(DATA / name, LAYOUTS[layout]), cell_m


CITIES: Mapping[str, Callable[[], tuple[IncidentTable, float]]] = MappingProxyType(
    {
        "simulated": lambda: (incidents_of(World(side=8, per_day=200.0, days=210 + DAYS, seed=3)), 1000.0),
        "montgomery": partial(_of_file, "montgomery_911_2015_2016.zip", "montgomery", 4000.0),
        "chicago": partial(_of_file, "chicago_2016_2017.zip", "chicago", 2000.0),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CityChange:
    """What happens to incidents, and to a forecast that knows it. Of both, only what lies after the change is used."""

    incidents: Callable[[City, np.random.Generator], IncidentTable]
    oracle: Callable[[City, Floats], Floats] = lambda city, raw: raw  # (hours, cells, categories), of a city unchanged


def added(table: IncidentTable, *extra: IncidentTable) -> IncidentTable:
    """All of them, in the order of time; each has an id of its own."""
    columns = ("occurred_s", "lat_deg", "lon_deg", "category")
    joined = {name: np.concatenate([getattr(part, name) for part in (table, *extra)]) for name in columns}
    order = np.argsort(joined["occurred_s"], kind="stable")
    return replace(table, row=np.arange(1, len(order) + 1), **{name: of[order] for name, of in joined.items()})


def later(city: City, table: IncidentTable) -> IncidentTable:
    """What happens after the change happens SHIFT_H later; the hours left empty have what came in those before them."""
    moved = table.select(table.occurred_s >= city.change_s - SHIFT_H * HOUR_S)
    moved = replace(moved, occurred_s=moved.occurred_s + SHIFT_H * HOUR_S)
    return added(table.select(table.occurred_s < city.change_s), moved)


def _after(city: City) -> npt.NDArray[np.bool_]:
    return np.asarray(city.table.occurred_s >= city.change_s)


def _more(city: City, draw: np.random.Generator) -> IncidentTable:
    return added(city.table, city.table.select(_after(city) & (draw.random(len(city.table)) < 0.5)))


def _elsewhere(city: City, draw: np.random.Generator) -> IncidentTable:
    cell, inside = city.spec.grid.locate(city.table.lat_deg, city.table.lon_deg)
    lat, lon = city.spec.grid.centres()
    there, moved = city.places()[np.where(inside, cell, 0)], inside & _after(city)
    lat_deg, lon_deg = np.where(moved, lat[there], city.table.lat_deg), np.where(moved, lon[there], city.table.lon_deg)
    return replace(city.table, lat_deg=lat_deg, lon_deg=lon_deg)


def _moves(city: City, raw: Floats) -> Floats:
    moved = np.empty_like(raw)
    moved[:, city.places()] = raw
    return moved


def _within(city: City, day: float, hours: int) -> npt.NDArray[np.bool_]:
    """Of the hours that begin so many days after the change."""
    from_s = city.change_s + int(day * DAY_S)
    return np.asarray((city.table.occurred_s >= from_s) & (city.table.occurred_s < from_s + hours * HOUR_S))


BEDS: Mapping[str, CityChange] = MappingProxyType(
    {
        "unchanged": CityChange(incidents=lambda city, draw: city.table),
        "level x0.5": CityChange(
            incidents=lambda city, draw: city.table.select(~_after(city) | (draw.random(len(city.table)) < 0.5)),
            oracle=lambda city, raw: 0.5 * raw,
        ),
        "hours +6": CityChange(
            incidents=lambda city, draw: later(city, city.table), oracle=lambda city, raw: np.roll(raw, SHIFT_H, axis=0)
        ),
        "both": CityChange(
            incidents=lambda city, draw: later(city, _more(city, draw)),
            oracle=lambda city, raw: 1.5 * np.roll(raw, SHIFT_H, axis=0),
        ),
        "cells": CityChange(incidents=_elsewhere, oracle=_moves),
        "silent": CityChange(
            incidents=lambda city, draw: city.table.select(
                ~_within(city, 0.5, SILENT_H) & ~_within(city, 5.25, SILENT_H)
            )
        ),
        "burst": CityChange(
            incidents=lambda city, draw: added(city.table, *[city.table.select(_within(city, 0.5, BURST_H))] * 3)
        ),
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


# What following gains where a city changes, and what it costs where none does

WEEKS = ((0, 1), (1, 2), (2, 4), (4, 8))  # after the change
_WEEK, _CHANGE = 168, CHANGE_DAY * 24  # hours
_PART = 240  # hours whose scores are in memory at a time


def measure_following(
    cities: Sequence[str], beds: Sequence[str], *, origins: int, seeds: int, quick: bool, say: Say
) -> list[dict[str, Any]]:
    """A row for each bed of each city, origin and seed; the network is fitted once for all beds of them."""
    rows = []
    for city, origin in cities_of(cities, origins=origins, seeds=seeds, quick=quick, say=say):
        unchanged = bed_of(city, "unchanged").raw[..., 0]
        for name in beds:
            say(f"{city.spec.region}: {name}")
            bed, oracle = bed_of(city, name), unchanged.copy()
            oracle[_CHANGE:] = BEDS[name].oracle(city, unchanged)[_CHANGE:]
            row = {"city": city.spec.region, "origin": origin, "seed": city.seed, "bed": name}
            rows.append(row | _figures(city, bed, followed(city, bed), oracle))
    return rows


def followed(city: City, bed: Bed) -> npt.NDArray[np.float32]:
    """The forecasts as they would be shown."""
    counts, shown, start_s = bed.counts, np.empty_like(bed.raw), city.start_s
    following = SequentialFollowing(
        follower=Follower.of(city.spec, city.trained.constants),
        counts=lambda begin_s, end_s: counts[(begin_s - start_s) // HOUR_S : (end_s - start_s) // HOUR_S].sum(axis=0),
        delay_s=served_delay_s(city.spec.late_limit_s),
        state=FollowerState.new(city.spec),
    )
    for hour, raw in enumerate(bed.raw):
        shown[hour] = raw * following.next_factors(start_s + hour * HOUR_S, raw).shown()
    return shown


def _figures(city: City, bed: Bed, shown: npt.NDArray[np.float32], oracle: npt.NDArray[np.float32]) -> dict[str, Any]:
    dispersion, hours = city.trained.constants.dispersion_in_cells(of_network=True), len(bed.raw)
    figures: dict[str, Any] = {}
    for number, (name, span_s) in enumerate(zip(city.spec.horizon_names, city.spec.horizons_s, strict=True)):
        counts = sum(bed.counts[later : hours + later] for later in range(span_s // HOUR_S))
        scores = [_scores(of, counts, dispersion[..., number]) for of in (bed.raw[..., number], shown[..., number])]
        figures[name] = {span: _percent(*(of[_CHANGE:stop] for of in scores)) for span, stop in
                         (("two_weeks", _CHANGE + 2 * _WEEK), ("all", hours))}  # fmt: skip
        if number == 0:
            best, incidents = _scores(oracle, counts, dispersion[..., 0]), counts.sum(axis=(1, 2))
            for what, of in zip(("raw", "followed"), scores, strict=True):
                spans = [slice(_CHANGE + first * _WEEK, _CHANGE + last * _WEEK) for first, last in WEEKS]
                figures[what] = [round(float((of - best)[span].sum() / incidents[span].sum()), 4) for span in spans]
    return figures


def _scores(mean: npt.NDArray[np.float32], counts: Counts, dispersion: Dispersion) -> Floats:
    """(hours,) log scores, all values added up."""
    parts = [slice(start, start + _PART) for start in range(0, len(mean), _PART)]
    return np.concatenate([log_scores(mean[of].astype(float), counts[of], dispersion).sum(axis=(1, 2)) for of in parts])


def _percent(raw: Floats, shown: Floats) -> list[float]:
    """The difference, and its 95 % interval by blocks of days, in percent of the raw forecast's score."""
    block, random = day_blocks(len(raw), steps_per_week=_WEEK), np.random.default_rng(0)
    apart = difference_of((shown - raw)[None], block, random, judged=0)  # only its interval is used
    return [round(100 * part / float(raw.mean()), 4) for part in (apart.mean, apart.low, apart.high)]


def following_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Losses above a forecast that knows the change, and differences to the raw forecast."""
    table = Table(
        title="nats an incident above a forecast that knows the change, weeks 1 / 2 / 3-4 / 5-8",
        caption="difference in percent of the raw forecast's log score, all days after the change, 95 % interval",
    )
    for heading in ("city", "bed", "raw", "following", "1 h", "4 h", "24 h"):
        table.add_column(heading)
    for row in rows:
        weeks = [" ".join(f"{week:.3f}".replace("0.", ".", 1) for week in row[what]) for what in ("raw", "followed")]
        differences = ("{:+.3f} ({:+.3f}, {:+.3f})".format(*row[name]["all"]) for name in ("1h", "4h", "24h"))
        table.add_row(f"{row['city']} {row['origin']}/{row['seed']}", row["bed"], *weeks, *differences)
    return table


# What the last hour tells of the next: the served forecasts hour by hour, with a nowcast and without. The network is
# the one that would score, with the share of it that training left.

HORIZONS = ("1h", "4h")  # the shortest ones
Figures = dict[str, SurgeFigures]


def measure_nowcast(cities: Sequence[str], *, origins: int, quick: bool, say: Say) -> dict[str, tuple[SurgeRow, ...]]:
    """By city and horizon a row for each model, over all origins."""
    rows = {}
    for name in cities:
        trained = cities_of([name], origins=origins, seeds=1, quick=quick, say=say)
        of_origins = [judged(city, 14 if quick else DAYS - 1, say) for city, _ in trained]
        for number, horizon in enumerate(HORIZONS if of_origins else ()):
            figures = [of_horizons[number] for of_horizons in of_origins]
            rows[f"{name}, {horizon}"] = surge_rows(figures, "network", steps_per_week=_WEEK, seed=0)
    return rows


def judged(city: City, days: int, say: Say) -> list[Figures]:
    """Of each of HORIZONS, by model, the hours after the city's start."""
    spec, constants = city.spec, city.trained.constants
    say(f"{spec.region}: {constants.nowcast or 'no nowcast'}")
    # What a nowcast looks at says which hours follow a surge, also where there is none.
    looks = replace(constants, nowcast=constants.nowcast or no_nowcast(len(spec.horizons_s)))
    past = IncidentHistory.of(city.table, spec, city.start_s + (days + 1) * DAY_S)
    replay, engine = Replay(past), FeatureEngine(spec, looks)
    came: list[npt.NDArray[np.int32]] = []
    lately: list[LastHours] = []
    forecasts = defaultdict[str, list[Floats]](list)
    for at_s in range(city.start_s, city.start_s + days * DAY_S, HOUR_S):
        features = engine.compute(replay.lead_to(at_s))
        usual, network = means(features.values, city.trained.network, spec)
        lately += [features.lately] if features.lately else []
        came.append(past.coming(at_s))
        for name, mean in (("usual", usual), ("network", network)):
            _, factors = surges_of(lately[-1], usual, None, mean, looks, spec)
            forecasts[name].append(mean.astype(np.float64))
            forecasts[f"{name}, nowcast"].append(forecasts[name][-1] * (1 if factors is None else factors))
    after, counts = is_surge(lately), np.stack(came)
    of_horizons: list[Figures] = []
    for number in range(len(HORIZONS)):
        figures: Figures = {}
        for name, of_hours in forecasts.items():
            dispersion = constants.dispersion_in_cells(of_network=name.startswith("network"))[..., number]
            mean, count = np.stack(of_hours)[..., number], counts[..., number]
            figures[name] = SurgeFigures.of([(mean, count)], after, _scores(mean, count, dispersion))
        of_horizons.append(figures)
    return of_horizons


def nowcast_tables(rows: Mapping[str, Sequence[SurgeRow]]) -> Iterator[Table]:
    for place, of_models in rows.items():
        yield table_of(place, SURGE_HEADINGS, surge_texts(of_models))

"""How often *more than usual* is said where nothing is, and how soon where something is."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.table import Table

from benchmarks.follow_beds import DAYS, STORM_S, City, city_of
from benchmarks.report import table_of
from models.baseline import horizon_hours
from models.feature_lists import usual_columns
from models.features import FeatureEngine
from models.training.replay import IncidentHistory, Replay
from models.training.train import TrainingOptions
from models.unusual.scan import unusual_places
from models.unusual.windows import WINDOWS_S, Recent
from schemas.errors import DataError
from schemas.frame import Unusual
from schemas.spec import DAY_S, HOUR_S

LOOK_S, APART_S = 300, 4 * HOUR_S  # between two looks; a call that comes so soon after another is the same
SIZES, TIMES = (3, 6, 9), (2.0, 3.0, 5.0)  # cells of a planted cluster, and times the usual in them
_LOOKS = HOUR_S // LOOK_S
_KEPT = WINDOWS_S[-1] // LOOK_S
Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedRegion:
    """A city's usual counts by the hour, as the scorer would have had them."""

    city: City
    usual: Floats  # (hours, cells, categories)
    past: IncidentHistory

    @classmethod
    def of(cls, city: City, days: int) -> "WatchedRegion":
        spec, constants, usual = city.spec, city.trained.constants, []
        past = IncidentHistory.of(city.table, spec, city.start_s + days * DAY_S)
        replay, engine = Replay(past), FeatureEngine(spec, constants)
        for at_s in range(city.start_s, city.start_s + days * DAY_S, 6 * HOUR_S):
            columns = engine.compute(replay.lead_to(at_s)).values[:, :, usual_columns(len(spec.horizons_s))]
            rate = np.exp(columns[:, :, 0].astype(float)) / horizon_hours(constants, at_s, spec)[:, :, 0]
            usual += [rate * horizon_hours(constants, hour_s, spec)[:, :, 0]
                      for hour_s in range(at_s, at_s + 6 * HOUR_S, HOUR_S)]  # fmt: skip
        return cls(city=city, usual=np.stack(usual), past=past)

    def drawn(self, hour: int, draw: np.random.Generator, times: Floats | float = 1.0) -> Counts:
        """(looks, cells, categories) counts of chance by the forecast's own distribution."""
        mean = self.usual[hour] * times
        size = np.broadcast_to(self.dispersion.size(mean), mean.shape)
        return draw.multinomial(draw.poisson(draw.gamma(size, mean / size)), [1 / _LOOKS] * _LOOKS).transpose(2, 0, 1)

    def real(self, hour: int) -> Counts:
        starts = (self.city.start_s + hour * HOUR_S + LOOK_S * np.arange(_LOOKS)).tolist()
        return np.stack([self.past.counts(at_s, at_s + LOOK_S) for at_s in starts])

    @property
    def dispersion(self) -> Any:
        return self.city.trained.constants.dispersion_in_cells(of_network=False)[..., 0]

    def looks(self, counts: Callable[[int], Counts], hours: range) -> Iterator[tuple[int, tuple[Unusual, ...]]]:
        """The end of each look, in seconds since the city's start, and what stands out then."""
        came = np.zeros((_KEPT, *self.usual.shape[1:]), np.int32)
        mean = np.zeros(came.shape)
        for number, hour in enumerate(hours):
            now, mean_now = counts(hour), self.usual[hour] / _LOOKS
            for look in range(_LOOKS):
                came, mean = np.roll(came, -1, axis=0), np.roll(mean, -1, axis=0)
                came[-1], mean[-1] = now[look], mean_now
                if number * _LOOKS + look + 1 < _KEPT:
                    continue
                usual = np.stack([mean[-window_s // LOOK_S :].sum(axis=0) for window_s in WINDOWS_S])
                observed = np.stack([came[-window_s // LOOK_S :].sum(axis=0) for window_s in WINDOWS_S])
                recent = Recent(
                    counts=observed,
                    usual=usual,
                    spread=usual * self.dispersion.excess(usual),
                    region_spreads=self.city.trained.constants.region_spreads,
                    spread_of_sums=float(self.city.trained.constants.spread_of_sums.sum()),
                )
                places = unusual_places(recent, self.city.spec.grid, self.city.spec.categories)
                yield hour * HOUR_S + (look + 1) * LOOK_S, places


def calls(looks: Iterator[tuple[int, tuple[Unusual, ...]]]) -> list[tuple[int, Unusual]]:
    """When each call began, and its least likely place."""
    begun: list[tuple[int, Unusual]] = []
    last_s = -APART_S
    for at_s, places in looks:
        if not places:
            continue
        if at_s - last_s > APART_S:
            begun.append((at_s, places[0]))
        elif places[0].days > begun[-1][1].days:
            begun[-1] = (begun[-1][0], places[0])
        last_s = at_s
    return begun


def planted(region: WatchedRegion, size: int, times: float, tries: int, draw: np.random.Generator) -> dict[str, Any]:
    """Clusters in lively places of the most frequent category: how many are found within their two hours, how soon."""
    grid, hours = region.city.spec.grid, len(region.usual)
    category = int(region.usual.sum(axis=(0, 1)).argmax())
    delays, sums = [], []
    for _ in range(tries):
        hour = int(draw.integers(4, hours - 2))
        weight = region.usual[hour, :, category]
        row, col = divmod(int(draw.choice(grid.cells, p=weight / weight.sum())), grid.cols)
        row, col = min(max(row, 1), grid.rows - 2), min(max(col, 1), grid.cols - 2)
        block = [(row + down) * grid.cols + col + right for down in (-1, 0, 1) for right in (-1, 0, 1)]
        factor = np.ones(region.usual.shape[1:])
        factor[block[:size], category] = times
        sums.append(region.usual[hour : hour + 2, block[:size], category].sum())

        def counts(at: int, factor: Floats = factor, hour: int = hour) -> Counts:
            return region.drawn(at, draw, factor if at >= hour else 1.0)

        looks = region.looks(counts, range(hour - 4, hour + 2))
        calls_s = (at_s - hour * HOUR_S for at_s, places in looks if at_s > hour * HOUR_S and any(
            place.category == region.city.spec.categories[category] and not set(block[:size]).isdisjoint(
                place.cells(grid).tolist()) for place in places))  # fmt: skip
        delays.append(next(calls_s, None))
    soon = [delay for delay in delays if delay is not None]
    return {
        "cells": size,
        "times": times,
        "usual": round(float(np.median(sums)), 1),
        "found": f"{len(soon)} of {tries}",
        "delay_min": round(float(np.median(soon)) / 60) if soon else None,
    }


def measure(
    cities: Sequence[str], *, weeks: int, tries: int, say: Callable[[str], None]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[str]]:
    """(calls a week, planted clusters, every call of the real weeks in words)."""
    rates, clusters, words = [], [], []
    options = TrainingOptions(step_s=12 * HOUR_S, epochs=1, seed=0)
    for name, is_storm in [(name, False) for name in cities] + [("montgomery", True)] * ("montgomery" in cities):
        try:
            city = city_of(name, origin=0, options=options, is_storm=is_storm)
        except DataError as error:
            say(f"{name} is left out: {error}")
            continue
        if is_storm:
            words += _storm(WatchedRegion.of(city, 16))
            continue
        region, hours = WatchedRegion.of(city, min(DAYS, 7 * weeks)), range(min(DAYS, 7 * weeks) * 24)
        draw = np.random.default_rng(1)
        by_chance = calls(region.looks(lambda hour, of=region, draw=draw: of.drawn(hour, draw), hours))
        of_real = calls(region.looks(region.real, hours))
        say(f"{name}: {len(by_chance)} calls by chance, {len(of_real)} real, in {weeks} weeks")
        cells = f"{city.spec.grid.rows} x {city.spec.grid.cols}"
        rates.append({"city": name, "cells": cells, "by_chance": round(len(by_chance) / weeks, 2),
                      "real": round(len(of_real) / weeks, 2), "weeks": weeks})  # fmt: skip
        words += [f"{name}, {_when(city.start_s + at_s)}: {place.in_words(city.spec.grid)}, once in {place.days:g} days"
                  for at_s, place in of_real]  # fmt: skip
        clusters += [{"city": name, **planted(region, size, times, tries, draw)} for size in SIZES for times in TIMES]
    return rates, clusters, words


def _storm(region: WatchedRegion) -> Iterator[str]:
    begin = (STORM_S - region.city.start_s) // HOUR_S
    for at_s, places in region.looks(region.real, range(begin - 5, begin + 24)):
        if places and at_s > begin * HOUR_S - HOUR_S:
            said = places[0].in_words(region.city.spec.grid)
            yield f"the storm, {_when(region.city.start_s + at_s)}: {said}, once in {places[0].days:g} days"
            return


def cost_ms() -> tuple[float, float]:
    """(mean, highest) CPU milliseconds of a look at a busy region of 2,304 cells and 4 categories."""
    from schemas.grid import Grid

    grid, draw = Grid(south_deg=0.0, west_deg=0.0, cell_m=1000.0, rows=48, cols=48), np.random.default_rng(0)
    usual = np.cumsum(draw.gamma(0.3, 0.1, (len(WINDOWS_S), grid.cells, 4)), axis=0)
    spent = []
    for _ in range(50):
        recent = Recent(
            counts=draw.poisson(1.3 * usual),
            usual=usual,
            spread=0.1 * usual,
            region_spreads=np.full(5, 0.02),
            spread_of_sums=0.1,
        )
        began = time.process_time()
        unusual_places(recent, grid, tuple("abcd"))
        spent.append(1000 * (time.process_time() - began))
    return float(np.mean(spent)), max(spent)


def tables_of(rates: Sequence[dict[str, Any]], clusters: Sequence[dict[str, Any]]) -> list[Table]:
    weekly = ("city", "grid", "counts drawn from the forecast", "the real weeks", "weeks")
    planted = ("city", "cells", "times the usual", "usual in 2 h", "found", "after minutes (median)")
    title = "Planted clusters that last two hours, in lively places, found before they end"
    return [
        table_of("Calls of *more than usual* a week and region", weekly, ([*map(str, row.values())] for row in rates)),
        table_of(title, planted, ([*map(str, row.values())] for row in clusters)),
    ]


def _when(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M UTC")

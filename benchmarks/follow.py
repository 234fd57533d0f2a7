"""What following gains where a city changes, and what it costs where none does."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from rich.table import Table

from benchmarks.follow_beds import BEDS, CHANGE_DAY, CITIES, STORM, Bed, City, bed_of, city_of
from models.dispersion import Dispersion
from models.following.follower import Follower
from models.following.sequential import SequentialFollowing, served_delay_s
from models.following.state import FollowerState
from models.likelihood import log_scores
from models.measures.calibration import intervals_of
from models.measures.paired import day_blocks, difference_of
from models.training.train import TrainingOptions
from schemas.errors import DataError
from schemas.spec import HOUR_S

mpl.use("Agg")
from matplotlib import pyplot as plt

WEEKS = ((0, 1), (1, 2), (2, 4), (4, 8))  # after the change
_WEEK, _CHANGE = 168, CHANGE_DAY * 24  # hours
_PART = 240  # hours whose scores are in memory at a time
Floats = npt.NDArray[np.float64]


def measure(
    cities: Sequence[str], beds: Sequence[str], *, origins: int, seeds: int, quick: bool, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """A row for each bed of each city, origin and seed; the network is fitted once for all beds of them."""
    rows = []
    for name in cities:
        for origin, seed in np.ndindex(origins, seeds):
            options = TrainingOptions(step_s=(720 if quick else 180) * 60, epochs=2 if quick else 12, seed=seed)
            for is_storm in sorted({bed == STORM for bed in beds}):
                if is_storm and (name != "montgomery" or origin):
                    continue
                try:
                    city = city_of(name, origin=origin, options=options, is_storm=is_storm)
                except DataError as error:
                    say(f"{name}, origin {origin}, is left out: {error}")
                    continue
                of_city = [bed for bed in beds if (bed == STORM) == is_storm]
                for row in _rows(city, of_city, say):
                    rows.append({"city": name, "origin": origin, "seed": seed, **row})
    return rows


def _rows(city: City, beds: Sequence[str], say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    unchanged = bed_of(city, "unchanged").raw[..., 0]
    for name in beds:
        bed = bed_of(city, name)
        shown, seconds = followed(city, bed)
        oracle = unchanged.copy()
        oracle[_CHANGE:] = BEDS[name].oracle(city, unchanged)[_CHANGE:]
        say(f"{city.spec.region}: {name}")
        yield {"bed": name, "ms_an_hour": round(1000 * seconds / len(bed.raw), 2), **_figures(city, bed, shown, oracle)}


def followed(city: City, bed: Bed) -> tuple[npt.NDArray[np.float32], float]:
    """The forecasts as they would be shown, and the seconds of CPU that following took."""
    counts, shown, start_s = bed.counts, np.empty_like(bed.raw), city.start_s
    following = SequentialFollowing(
        follower=Follower.of(city.spec, city.trained.constants),
        counts=lambda begin_s, end_s: counts[(begin_s - start_s) // HOUR_S : (end_s - start_s) // HOUR_S].sum(axis=0),
        delay_s=served_delay_s(city.spec.late_limit_s),
        state=FollowerState.new(city.spec),
    )
    began = time.process_time()
    for hour, raw in enumerate(bed.raw):
        shown[hour] = raw * following.next_factors(start_s + hour * HOUR_S, raw).shown()
    return shown, time.process_time() - began


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
            spans = [slice(_CHANGE), slice(_CHANGE, _CHANGE + 2 * _WEEK), slice(_CHANGE + 4 * _WEEK, None)]
            for what, mean in (("raw", bed.raw[..., 0]), ("followed", shown[..., 0])):
                from_30 = slice(_CHANGE + 30 * 24, None)
                figures[f"{what}_ratio"] = round(float(mean[from_30].sum() / incidents[from_30].sum()), 3)
                figures[f"{what}_coverage"] = [_coverage(mean[of], counts[of], dispersion[..., 0]) for of in spans]
    return figures


def _scores(mean: npt.NDArray[np.float32], counts: npt.NDArray[np.integer[Any]], dispersion: Dispersion) -> Floats:
    """(hours,) log scores, all values added up."""
    parts = [slice(start, start + _PART) for start in range(0, len(mean), _PART)]
    return np.concatenate([log_scores(mean[of].astype(float), counts[of], dispersion).sum(axis=(1, 2)) for of in parts])


def _percent(raw: Floats, shown: Floats) -> list[float]:
    """The difference, and its 95 % interval by blocks of days, in percent of the raw forecast's score."""
    apart = difference_of((shown - raw)[None], day_blocks(len(raw), steps_per_week=_WEEK), np.random.default_rng(0))
    return [round(100 * part / float(raw.mean()), 4) for part in (apart.mean, apart.low, apart.high)]


def _coverage(mean: npt.NDArray[np.float32], counts: npt.NDArray[np.integer[Any]], dispersion: Dispersion) -> float:
    """Of the 90 % intervals, by the randomised PIT, all categories together."""
    draw, pit = np.random.default_rng(0), []
    for category in range(mean.shape[2]):
        for cell in range(mean.shape[1]) if dispersion.r.ndim > 1 else [slice(None)]:
            of_place = (mean[:, cell, category].ravel().astype(float), counts[:, cell, category].ravel())
            place = (cell, category) if dispersion.r.ndim > 1 else (category,)
            pit.append(intervals_of(*of_place, dispersion[place], draw.random(of_place[0].size)).pit)
    total = np.sum(pit, axis=0)
    return round(float(total[1:-1].sum() / total.sum()), 4)


def table_of(rows: Sequence[dict[str, Any]]) -> Table:
    """Losses above a forecast that knows the change, and differences to the raw forecast."""
    table = Table(
        title="nats an incident above a forecast that knows the change, weeks 1 / 2 / 3-4 / 5-8",
        caption="difference in percent of the raw forecast's log score, all days after the change, 95 % interval",
    )
    for heading in ("city", "bed", "raw", "following", "1 h", "4 h", "24 h", "f/a from day 30"):
        table.add_column(heading)
    for row in rows:
        weeks = [" ".join(f"{week:.3f}".replace("0.", ".", 1) for week in row[what]) for what in ("raw", "followed")]
        differences = ("{:+.3f} ({:+.3f}, {:+.3f})".format(*row[name]["all"]) for name in ("1h", "4h", "24h"))
        ratios = f"{row['raw_ratio']:.2f} / {row['followed_ratio']:.2f}"
        table.add_row(f"{row['city']} {row['origin']}/{row['seed']}", row["bed"], *weeks, *differences, ratios)
    return table


def write_picture(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """What is lost in the weeks after each change, raw and followed: the means of the origins and seeds."""
    cities = [name for name in CITIES if any(row["city"] == name for row in rows)]
    beds = [name for name in BEDS if any(row["bed"] == name for row in rows)]
    figure, axes = plt.subplots(
        len(cities), len(beds), figsize=(1.7 * len(beds) + 1, 2 * len(cities) + 0.6), sharex=True, sharey="row",
        squeeze=False, layout="constrained",
    )  # fmt: skip
    for (line, column), panel in np.ndenumerate(axes):
        of = [row for row in rows if (row["city"], row["bed"]) == (cities[line], beds[column])]
        for what, color in (("raw", "#999999"), ("followed", "#0072b2")):
            if of:
                panel.plot([1, 2, 3.5, 6.5], np.mean([row[what] for row in of], axis=0), ".-", color=color, label=what)
        panel.axhline(0, color="black", linewidth=0.6)
        panel.set_title(beds[column] if line == 0 else "", fontsize=9)
        panel.set_ylabel(f"{cities[line]}\nnats an incident" if column == 0 else "")
    axes[-1, 0].set_xlabel("week after the change")
    axes[0, 0].legend(fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    plt.close(figure)

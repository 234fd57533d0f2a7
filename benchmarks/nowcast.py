"""What the last hour tells of the next: the served forecasts of real cities, hour by hour, with a nowcast and without.

Each city is trained by what `train` does until each of some moments, and judged on the 91 days after it. The network is
the one that would score, with the share of it that training left.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.table import Table

from benchmarks.follow_beds import DAYS, City, city_of
from benchmarks.report import table_of as drawn
from models.evaluation.after_surges import LEAST_SURGES, MOVED, SURGE, SurgeFigures, is_surge, surge_rows
from models.evaluation.report.columns import NONE
from models.features import FeatureEngine
from models.likelihood import log_scores
from models.nowcast import LastHours, no_nowcast
from models.scoring import means, surges_of
from models.training.replay import IncidentHistory, Replay
from models.training.train import TrainingOptions
from schemas.errors import DataError
from schemas.spec import DAY_S, HOUR_S

HORIZONS = 2  # the shortest ones: of 1 and 4 hours
_MODELS = ("usual", "usual, nowcast", "network", "network, nowcast")
Floats = npt.NDArray[np.float64]
Figures = dict[str, tuple[SurgeFigures, Floats]]


def measure(cities: Sequence[str], *, origins: int, quick: bool, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """A row for each model, horizon and city, over all of its origins."""
    options = TrainingOptions(step_s=(720 if quick else 180) * 60, epochs=2 if quick else 12, seed=0)
    rows = []
    for name in cities:
        of_origins: list[list[Figures]] = []
        for origin in range(origins):
            try:
                city = city_of(name, origin=origin, options=options)
            except DataError as error:
                say(f"{name}, origin {origin}, is left out: {error}")
                continue
            began = time.process_time()
            of_origins.append(judged(city, 14 if quick else DAYS - 1))
            nowcast = city.trained.constants.nowcast
            say(f"{name}, origin {origin}: {time.process_time() - began:.0f} s of CPU; {nowcast or 'no nowcast'}")
        for horizon in range(HORIZONS if of_origins else 0):
            figures = [of_horizons[horizon] for of_horizons in of_origins]
            said = surge_rows(figures, "network", steps_per_week=168, seed=0)
            if said[0].steps < LEAST_SURGES:
                say(f"{name}: {said[0].steps} hours begin after a surge: too few for figures of them alone")
            rows += [{"city": name, "horizon": city.spec.horizon_names[horizon], **asdict(row)} for row in said]
    return rows


def judged(city: City, days: int) -> list[Figures]:
    """Of each of HORIZONS, by model, the hours after the city's start."""
    spec, constants = city.spec, city.trained.constants
    # What a nowcast looks at says which hours follow a surge, also where there is none.
    looks = replace(constants, nowcast=constants.nowcast or no_nowcast(len(spec.horizons_s)))
    past = IncidentHistory.of(city.table, spec, city.start_s + (days + 1) * DAY_S)
    replay, engine = Replay(past), FeatureEngine(spec, looks)
    came: list[npt.NDArray[np.int32]] = []
    lately: list[LastHours] = []
    forecasts: dict[str, list[Floats]] = {name: [] for name in _MODELS}
    for at_s in range(city.start_s, city.start_s + days * DAY_S, HOUR_S):
        features = engine.compute(replay.lead_to(at_s))
        usual, network, _ = means(features.values, city.trained.network, spec)
        lately += [features.lately] if features.lately else []
        came.append(past.coming(at_s)[..., :HORIZONS])
        for name, mean in (("usual", usual), ("network", network)):
            _, factors = surges_of(lately[-1], usual, None, mean, looks, spec)
            forecasts[name].append(mean[..., :HORIZONS].astype(np.float64))
            raised = mean if factors is None else mean * factors
            forecasts[f"{name}, nowcast"].append(raised[..., :HORIZONS].astype(np.float64))
    after, counts = is_surge(lately), np.stack(came)
    return [
        {
            name: (
                SurgeFigures.of([(np.stack(mean)[..., horizon], counts[..., horizon])], after),
                _cells(city, np.stack(mean)[..., horizon], counts[..., horizon], horizon, name),
            )
            for name, mean in forecasts.items()
        }
        for horizon in range(HORIZONS)
    ]


def _cells(city: City, mean: Floats, counts: npt.NDArray[np.int32], horizon: int, name: str) -> Floats:
    """(hours,) log score of all cells."""
    dispersion = city.trained.constants.dispersion_in_cells(of_network=name.startswith("network"))[..., horizon]
    return np.array([log_scores(*of, dispersion).sum() for of in zip(mean, counts, strict=True)])


def table_of(rows: Sequence[dict[str, Any]]) -> Table:
    headings = (
        "city, horizon, model, hours, came, forecast, f/a, region %, cells %, hits, all: region %, all: cells %, moved"
    )
    shown = [
        (
            *(row[name] for name in ("city", "horizon", "model")),
            f"{row['steps']}",
            *(f"{row[name]:.1f}" for name in ("came", "forecast")),
            f"{row['forecast_over_actual']:.2f} ({row['low']:.2f} to {row['high']:.2f})",
            f"{row['region_percent']:+.1f}",
            f"{row['cells_percent']:+.2f} ({row['cells_low']:+.2f} to {row['cells_high']:+.2f})",
            f"{row['hits']:.1%}",
            f"{row['all_region_percent']:+.2f}",
            f"{row['all_cells_percent']:+.3f}",
            f"{row['moved']:.1%}",
        )
        for row in rows
    ]
    shown = [tuple(NONE if "nan" in text else text for text in row) for row in shown]
    title = f"After a surge of {SURGE:g} deviations, against the network; moved by more than {MOVED:.0%}"
    return drawn(title, headings.split(", "), shown)

"""Forecasts kept on the hour beside the checkpoint, and the points that compare them with what happened."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from models.local_time import hour_of_week
from models.measures.outcomes import Forecast, by_chance, by_district, judge
from models.scoring import raised, widened
from schemas.frame import RiskFrame, Surge, is_baseline
from schemas.left_behind.closed_counts import ClosedCounts, ClosedFiles, closed_folder
from schemas.left_behind.kept_forecasts import KeptForecasts, forecasts_folder, outcomes_folder
from schemas.spec import HOUR_S, Spec
from streaming.flow.rows import ScoredRow
from streaming.roster.roster import load_artifact
from streaming.sinks.line_protocol import point_line

log = logging.getLogger(__name__)


class Outcomes:
    """Keeps the first forecast of every hour, and judges it twice when a horizon has closed (see `closed_horizons`)."""

    def __init__(self, checkpoint: Path) -> None:
        self.kept = KeptForecasts(outcomes_folder(checkpoint))

    def keep(self, frame: RiskFrame, artifact: str, raw: bytes | None = None, following: str = "") -> None:
        """Keep a frame whose tick is a whole hour, unless that hour has one. Raises CheckpointError on a full disk.

        raw: what the network alone expected, if that is not what is shown; following: the hour of the file that was
        followed.
        """
        if frame.tick_s % HOUR_S == 0:
            constants, of_network = load_artifact(artifact).constants, not frame.baseline_only
            forecast = Forecast.of(frame.model, frame.expected, frame.usual, constants, of_network=of_network)
            forecast = replace(
                forecast,
                has_history=np.asarray((frame.support > 0).any(axis=1)),
                dispersion=widened(forecast.dispersion, frame.expected, frame.surges, frame.spec),
                raised=raised(frame.surges, frame.spec) if frame.surges else None,
            )
            kept = replace(forecast.to_keep(), raw=unpacked(raw, frame.spec), following=following)
            self.kept.write(kept, frame.spec, frame.tick_s)

    def points(self, spec: Spec, closed: Sequence[ClosedCounts]) -> bytes:
        """`outcome`, `outcome_area` and `outcome_chance` lines of the horizons for which a forecast was kept."""
        forecasts = ((counts, self.kept.read(spec, counts.tick_s)) for counts in closed)
        judged = ((counts, Forecast.of_kept(forecast)) for counts, forecast in forecasts if forecast is not None)
        return b"".join(closed_points(forecast, counts, spec) for counts, forecast in judged)


def unpacked(raw: bytes | None, spec: Spec) -> npt.NDArray[np.float32] | None:
    """(cells, categories, horizons) of bytes."""
    shape = (spec.grid.cells, len(spec.categories), len(spec.horizons_s))
    return None if raw is None else np.frombuffer(raw, "<f4").reshape(shape)


def closed_points(forecast: Forecast, closed: ClosedCounts, spec: Spec) -> bytes:
    """A forecast compared with what happened, as line protocol at the forecast's own time."""
    counts = closed.unpack(spec)
    weekday, hour = divmod(int(hour_of_week(np.array([closed.tick_s]), spec.timezone)[0]), 24)
    # Weekday (Monday is 1) and hour are local, when the horizon began.
    moment = {"weekday": weekday + 1, "hour": hour, "closed_s": closed.judged_s}
    where = {"horizon": spec.horizon_names[closed.horizon], "region": spec.region}
    lines = []

    def add(measurement: str, tags: Mapping[str, str], fields: Mapping[str, float | int | str]) -> None:
        lines.append(point_line(measurement, {**tags, **where}, fields, closed.tick_s))

    for category, values in judge(forecast, counts, spec).items():
        add("outcome", {"category": category}, {**values, **moment, "model": forecast.model})
    for (category, district), (expected, observed) in by_district(forecast, counts, spec).items():
        tags = {"category": category, "district": f"{district:02d}"}
        add("outcome_area", tags, {"expected": expected, "observed": observed})
    for (category, least), (cells, said, came) in by_chance(forecast, counts, spec).items():
        tags = {"category": category, "chance": f"{round(100 * least):02d}"}
        add("outcome_chance", tags, {"cells": cells, "said": said, "came": came})
    return b"".join(lines)


@dataclass(frozen=True, slots=True)
class LeftForTrial:
    """What the job leaves beside the checkpoint for those who judge a trial: it judges nothing itself.

    Nothing that fails here may end or repeat a batch: what is tried must not harm what scores.
    """

    checkpoint: Path

    def keep_forecast(self, row: ScoredRow, beside: RiskFrame) -> None:
        """Keep what a challenger's network forecast beside a frame, unless that hour has a forecast of a challenger.

        What the baseline did in place of a network proves nothing of it, and is not kept.
        """
        try:
            if row.scores.model and not is_baseline(row.scores.model):
                kept = replace(
                    forecast_of(row).to_keep(),
                    raw=unpacked(row.scores.raw, beside.spec),
                    following=row.scores.followed or "",
                )
                KeptForecasts(forecasts_folder(self.checkpoint)).write(kept, beside.spec, beside.tick_s)
        except Exception as error:
            log.warning("region=%s the challenger's forecast is not kept reason=%s", row.region, error)

    def keep_closed(self, spec: Spec, closed: Sequence[ClosedCounts]) -> None:
        """Keep the counts of horizons that no late report can change any more."""
        try:
            ClosedFiles(closed_folder(self.checkpoint)).keep(spec, closed)
        except Exception as error:
            log.warning("region=%s closed counts are not kept for a trial reason=%s", spec.region, error)


def forecast_of(row: ScoredRow) -> Forecast:
    """The forecast that a challenger's scored row holds."""
    artifact = load_artifact(row.artifact or "")
    spec, model = artifact.spec, row.scores.model or ""
    shape = (spec.grid.cells, len(spec.categories), len(spec.horizons_s))
    expected, usual = (
        np.frombuffer(part or b"", "<f4").reshape(shape) for part in (row.scores.expected, row.scores.usual)
    )
    forecast = Forecast.of(model, expected, usual, artifact.constants, of_network=True)
    surges = msgspec.msgpack.decode(row.scores.surges, type=tuple[Surge, ...]) if row.scores.surges else ()
    return replace(forecast, dispersion=widened(forecast.dispersion, expected, surges, spec))

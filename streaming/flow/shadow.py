"""The challenger's forecasts beside the champion's: kept on the hour, judged by the same counts, never on the map.

<checkpoint>/shadow/forecasts/<region>/<tick>.npz    until they are judged
<checkpoint>/shadow/<region>.jsonl                   an hour's judgement a line, see `models.gate.shadow_day`
"""

import logging
import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from models.counting.closed_horizons import last_grace_s
from models.gate.judge import judge_shadow
from models.gate.shadow_day import ShadowHour, days_of, judged_hour, judged_hours, shadow_path
from models.gate.trial import Trial, read_trial
from models.gate.triggers import drift_of
from models.measures.outcomes import Forecast
from schemas.errors import CheckpointError, RiskError
from schemas.files import open_for_append, write_errors
from schemas.frame import BASELINE_MODEL
from schemas.spec import DAY_S, Spec
from streaming.flow.outcomes import KeptForecasts
from streaming.flow.rows import ClosedCounts
from streaming.sinks.line_protocol import point_line

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Shadow:
    """Keeps and judges the challengers' forecasts. champion: the forecasts that the map showed."""

    checkpoint: Path
    artifacts: Path
    champion: KeptForecasts

    @property
    def _forecasts(self) -> KeptForecasts:
        return KeptForecasts(self.checkpoint / "shadow" / "forecasts")

    def keep(self, forecast: Forecast, spec: Spec, tick_s: int) -> None:
        """Keep what a challenger's network forecast; what the baseline did in its place proves nothing of it."""
        if not forecast.model.startswith(BASELINE_MODEL):
            self._forecasts.write(forecast, spec, tick_s)

    def points(self, spec: Spec, closed: Sequence[ClosedCounts]) -> bytes:
        """Judge for the last time. Gives `shadow` lines where there is a challenger, and a `gate` line of its trial."""
        hours = []
        for counts in closed:
            one = counts.unpack(spec)
            if one.judged_s - one.tick_s - spec.horizons_s[one.horizon] != last_grace_s(spec):
                continue
            if (champion := self.champion.read(spec, one.tick_s)) is not None:
                hours.append(judged_hour(champion, self._challengers(spec, one.tick_s), one, spec))
        if not hours:
            return b""
        self._append(spec.region, hours)
        beside = [one for one in hours if one.challenger_version]
        lines = b"".join(shadow_line(spec.region, one) for one in beside)
        try:
            lines += self._gate(spec, beside)
            if any(one.horizon == spec.horizon_names[0] and one.tick_s % DAY_S == 0 for one in hours):  # once a day
                lines += drift_lines(spec, judged_hours(self.checkpoint, spec))
        except (RiskError, OSError) as error:  # what is tried never stops what scores
            log.warning("region=%s has no judgement of its models reason=%s", spec.region, error)
        return lines

    def _challengers(self, spec: Spec, tick_s: int) -> Forecast | None:
        """The challenger's forecast of an hour; None without one that can be read."""
        try:
            return self._forecasts.read(spec, tick_s)
        except CheckpointError as error:
            log.warning("region=%s hour=%d is judged without a challenger reason=%s", spec.region, tick_s, error)
            return None

    def _append(self, region: str, hours: Sequence[ShadowHour]) -> None:
        path = shadow_path(self.checkpoint, region)
        lines = b"".join(msgspec.json.encode(one) + b"\n" for one in hours)
        with write_errors(CheckpointError, path, remedy="free disk space"), open_for_append(path) as file:
            if file.write(lines) < len(lines):
                raise CheckpointError(f"{path} took only a part of a line", remedy="free disk space")
            os.fsync(file.fileno())

    def _gate(self, spec: Spec, hours: Sequence[ShadowHour]) -> bytes:
        """The judgement of the region's trial so far, as a point at its newest day; after its end, that none awaits."""
        trial = read_trial(self.artifacts, spec.region)
        versions = {(one.champion_version, one.challenger_version) for one in hours}
        if trial is None or (trial.champion, trial.challenger) not in versions:
            newest_s = max((one.tick_s for one in hours), default=0)  # of a trial that has ended
            return point_line("gate", {"region": spec.region}, {"awaited": 0.0}, _day(newest_s)) if hours else b""
        return gate_line(spec, trial, judged_hours(self.checkpoint, spec, trial.challenger))


def shadow_line(region: str, hour: ShadowHour) -> bytes:
    """An hour's judgement as line protocol at the forecast's own time; log scores are means per value."""
    fields: dict[str, float | int | str] = {
        f"{name}_log_score": getattr(hour, name) / hour.values for name in ("champion", "challenger", "baseline")
    }
    for name in ("observed", "champion_expected", "challenger_expected"):
        fields[name] = sum(getattr(hour, name).values())
    versions = {"champion": hour.champion_version, "challenger": hour.challenger_version}
    return point_line("shadow", {"horizon": hour.horizon, "region": region}, {**fields, **versions}, hour.tick_s)


def gate_line(spec: Spec, trial: Trial, hours: Iterable[ShadowHour]) -> bytes:
    """What the gate says of the days so far, as line protocol at the newest day; nothing before there are bounds."""
    known = list(hours)
    days = days_of(known, spec, champion=trial.champion, challenger=trial.challenger)
    found = judge_shadow(days, trial.plan, margin=trial.margin)
    if not math.isfinite(found.high):
        return b""
    fields: dict[str, float | int | str] = {
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
        "margin": found.margin,
        "days": found.days,
        "decision": found.decision,
        "because": found.because,
        "challenger": trial.challenger,
        "awaited": float(found.decision != "go on"),
    }
    return point_line("gate", {"region": spec.region}, fields, _day(max(one.tick_s for one in known)))


def _day(at_s: int) -> int:
    return at_s // DAY_S * DAY_S


def drift_lines(spec: Spec, hours: Iterable[ShadowHour]) -> bytes:
    """Observed over expected of the version that scored last, as line protocol at its newest day; see `drift_of`."""
    known = list(hours)
    newest = max(known, key=lambda one: one.tick_s)
    days = days_of(known, spec, champion=newest.champion_version, challenger=None)
    return b"".join(
        point_line(
            "drift",
            {"category": one.name, "region": spec.region},
            {"ratio": one.ratio, "low": one.low, "high": one.high, "champion": newest.champion_version},
            _day(newest.tick_s),
        )
        for one in drift_of(days)
        if math.isfinite(one.high)
    )

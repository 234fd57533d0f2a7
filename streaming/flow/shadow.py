"""The challenger's forecasts beside the champion's: kept on the hour, judged by the same counts, never on the map.

<checkpoint>/shadow/forecasts/<region>/<tick>.npz    until they are judged
<checkpoint>/shadow/<region>.jsonl                   judgements of the shortest horizon, see `models.gate.shadow_day`

Of the file only what a judgement may read again is kept: the hours of the version that scores and of the trial's
champion, and the newest of all. It is read when a day may have ended, and cut once a day.
"""

import logging
import math
import os
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from msgspec.structs import replace

from models.counting.closed_horizons import last_grace_s
from models.gate.asked import read_asked
from models.gate.judge import judge_hours
from models.gate.judged_hour import judged_hour
from models.gate.shadow_day import ShadowHour, days_of, drop_unneeded, judged_hours, shadow_path
from models.gate.trial import Trial, read_trial
from models.gate.triggers import drift_of
from models.hour_of_week import hour_of_week
from models.measures.outcomes import Forecast
from schemas.errors import CheckpointError, RiskError
from schemas.files import open_for_append, write_errors
from schemas.frame import is_baseline
from schemas.spec import DAY_S, HOUR_S, Spec
from streaming.flow.outcomes import KeptForecasts
from streaming.flow.retrain_point import retrain_line
from streaming.flow.rows import ClosedCounts
from streaming.sinks.line_protocol import point_line

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Shadow:
    """Keeps and judges the challengers' forecasts.

    champion: the forecasts that the map showed. cut_hours: of a region, hours since 1970 until the one that begins then
    that say nothing of it. The log of batches says it, often only later: of a silence when it has lasted long enough.
    """

    checkpoint: Path
    artifacts: Path
    champion: KeptForecasts
    cut_hours: Callable[[Spec, int], Collection[int]] = lambda spec, newest_s: ()

    @property
    def _forecasts(self) -> KeptForecasts:
        return KeptForecasts(self.checkpoint / "shadow" / "forecasts")

    def keep(self, forecast: Forecast, spec: Spec, tick_s: int) -> None:
        """Keep what a challenger's network forecast; what the baseline did in its place proves nothing of it."""
        if not is_baseline(forecast.model):
            self._forecasts.write(forecast, spec, tick_s)

    def points(self, spec: Spec, closed: Sequence[ClosedCounts]) -> bytes:
        """Judge for the last time. Gives `shadow` lines where there is a challenger, a `gate` line of its trial, and a
        `retrain` line where triggers are asked.
        """
        hours = []
        for counts in closed:
            one = counts.unpack(spec)
            if one.judged_s - one.tick_s - spec.horizons_s[one.horizon] != last_grace_s(spec):
                continue
            if (champion := self.champion.read(spec, one.tick_s)) is not None:
                hours.append(judged_hour(champion, self._challengers(spec, one.tick_s), one, spec))
        if not hours:
            return b""
        deciding = [one for one in hours if one.horizon == spec.horizon_names[0]]
        self._append(spec.region, deciding)
        lines = b"".join(shadow_line(spec.region, one) for one in hours if one.challenger_version)
        lines += self._asked(spec.region, max(one.judged_s for one in closed))
        if _may_end_a_day(spec, deciding):
            self._cut_out(spec, max(one.tick_s for one in deciding))
        try:
            trial = read_trial(self.artifacts, spec.region)
            lines += self._gate(spec, trial, deciding)
            if any(one.tick_s % DAY_S == 0 for one in deciding):  # once a day
                known = list(judged_hours(self.checkpoint, spec))
                lines += drift_lines(spec, known)
                self._drop_unneeded(spec, trial, known)
        except (RiskError, OSError) as error:  # what is tried never stops what scores
            log.warning("region=%s has no judgement of its models reason=%s", spec.region, error)
        return lines

    def _asked(self, region: str, now_s: int) -> bytes:
        try:
            asked = read_asked(self.artifacts, region)
        except RiskError as error:
            log.warning("region=%s nobody knows when its triggers were asked reason=%s", region, error)
            return b""
        return retrain_line(region, asked, now_s) if asked else b""

    def _challengers(self, spec: Spec, tick_s: int) -> Forecast | None:
        """The challenger's forecast of an hour; None without one that can be read."""
        try:
            return self._forecasts.read(spec, tick_s)
        except CheckpointError as error:
            log.warning("region=%s hour=%d is judged without a challenger reason=%s", spec.region, tick_s, error)
            return None

    def _cut_out(self, spec: Spec, newest_s: int) -> None:
        """Write again the newest hours that are now known to say nothing: of two lines of an hour the last counts."""
        try:
            cut = self.cut_hours(spec, newest_s)
            known = {one.tick_s: one for one in judged_hours(self.checkpoint, spec)} if cut else {}
        except (RiskError, OSError) as error:
            log.warning("region=%s nobody knows in which hours its feed was silent reason=%s", spec.region, error)
            return
        width = spec.horizons_s[0] // HOUR_S
        first = {hour - before for hour in cut for before in range(width)}  # of forecasts that reach into one
        again = [
            replace(one, is_cut=True) for one in known.values() if one.tick_s // HOUR_S in first and not one.is_cut
        ]
        if again:
            self._append(spec.region, again)

    def _append(self, region: str, hours: Sequence[ShadowHour]) -> None:
        path = shadow_path(self.checkpoint, region)
        lines = b"".join(msgspec.json.encode(one) + b"\n" for one in hours)
        with write_errors(CheckpointError, path, remedy="free disk space"), open_for_append(path) as file:
            if file.write(lines) < len(lines):
                raise CheckpointError(f"{path} took only a part of a line", remedy="free disk space")
            os.fsync(file.fileno())

    def _gate(self, spec: Spec, trial: Trial | None, hours: Sequence[ShadowHour]) -> bytes:
        """The judgement of the region's trial, when a local day may have ended; without one, that none awaits."""
        if trial and trial.champion in {one.champion_version for one in hours}:
            if not _may_end_a_day(spec, hours):
                return b""
            return gate_line(spec, trial, judged_hours(self.checkpoint, spec, trial.champion))
        newest_s = max((one.tick_s for one in hours if one.challenger_version), default=None)  # of one that has ended
        if newest_s is None:
            return b""
        return point_line("gate", {"region": spec.region}, {"awaited": 0.0}, _day(newest_s))

    def _drop_unneeded(self, spec: Spec, trial: Trial | None, known: Sequence[ShadowHour]) -> None:
        named = [one for one in known if not is_baseline(one.champion_version)]
        champions = {max(named, key=lambda one: one.tick_s).champion_version} if named else set()
        newest_s = max(one.tick_s for one in known)
        path = shadow_path(self.checkpoint, spec.region)
        drop_unneeded(path, champions=champions | ({trial.champion} if trial else set()), newest_s=newest_s)


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
    """What the gate says of the days so far, as line protocol at the newest day; nothing before there are bounds.

    A challenger that fails is reported without them.
    """
    known = list(hours)
    found = judge_hours(trial, spec, known)
    bounds = {"difference": found.difference, "low": found.low, "high": found.high}
    if not math.isfinite(found.high):
        if found.decision == "go on":
            return b""
        bounds = {}
    fields: dict[str, float | int | str] = {
        **bounds,
        "margin": found.margin,
        "days": found.days,
        "failed_hours": sum(found.failed.values()),
        "decision": found.decision,
        "because": found.because,
        "challenger": trial.challenger,
        "awaited": float(found.decision != "go on"),
    }
    return point_line("gate", {"region": spec.region}, fields, _day(max(one.tick_s for one in known)))


def _may_end_a_day(spec: Spec, hours: Sequence[ShadowHour]) -> bool:
    """Whether one of them is the first or the last of a local day."""
    local = np.floor(hour_of_week(np.array([one.tick_s for one in hours], np.int64), spec.timezone)) % 24
    return bool(np.isin(local, (0, 23)).any())


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

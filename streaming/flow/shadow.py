"""The challenger's forecasts beside the champion's: kept on the hour, judged by the same counts, never on the map.

<checkpoint>/shadow/forecasts/<region>/<tick>.npz    until they are judged
<checkpoint>/shadow/<region>.jsonl                   an hour's judgement a line, see `models.gate.shadow_day`
"""

import logging
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from models.counting.closed_horizons import ClosedHorizon, last_grace_s
from models.gate.judge import judge_shadow
from models.gate.shadow_day import ShadowHour, days_of
from models.gate.trial import Trial, read_trial
from models.measures.outcomes import Forecast, log_scores
from schemas.errors import ArtifactError, CheckpointError
from schemas.files import open_for_append, write_errors
from schemas.frame import BASELINE_MODEL
from schemas.spec import DAY_S, Spec
from streaming.flow.outcomes import KeptForecasts
from streaming.flow.rows import ClosedCounts
from streaming.sinks.line_protocol import point_line

log = logging.getLogger(__name__)


def shadow_path(checkpoint: Path, region: str) -> Path:
    return checkpoint / "shadow" / f"{region}.jsonl"


def read_shadow(path: Path) -> Iterator[ShadowHour]:
    """The judged hours in a file; none without one. Raises CheckpointError when a line cannot be read."""
    if not path.exists():
        return
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), start=1):
        if not line.endswith(b"\n"):
            return  # being written now, or cut off by a crash: its batch is repeated
        try:
            yield msgspec.json.decode(line, type=ShadowHour)
        except msgspec.DecodeError as error:
            raise CheckpointError(f"{path}, line {number} cannot be read ({error})", "restore or delete it") from error


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
        """`shadow` lines of the horizons that are judged for the last time, and `gate` lines of the trial so far."""
        hours = []
        for counts in closed:
            one = counts.unpack(spec)
            if one.judged_s - one.tick_s - spec.horizons_s[one.horizon] != last_grace_s(spec):
                continue
            champion, challenger = self.champion.read(spec, one.tick_s), self._forecasts.read(spec, one.tick_s)
            if champion is not None and challenger is not None:
                hours.append(judged_hour(champion, challenger, one, spec))
        if not hours:
            return b""
        self._append(spec.region, hours)
        return b"".join(shadow_line(spec.region, one) for one in hours) + self._gate(spec, hours)

    def _append(self, region: str, hours: Sequence[ShadowHour]) -> None:
        path = shadow_path(self.checkpoint, region)
        lines = b"".join(msgspec.json.encode(one) + b"\n" for one in hours)
        with write_errors(CheckpointError, path, remedy="free disk space"), open_for_append(path) as file:
            if file.write(lines) < len(lines):
                raise CheckpointError(f"{path} took only a part of a line", remedy="free disk space")
            os.fsync(file.fileno())

    def _gate(self, spec: Spec, hours: Sequence[ShadowHour]) -> bytes:
        """The judgement of the region's trial so far, as a point at its newest day."""
        try:
            trial = read_trial(self.artifacts, spec.region)
        except ArtifactError as error:
            log.warning("region=%s has no judgement of its trial reason=%s", spec.region, error)
            return b""
        versions = {(one.champion_version, one.challenger_version) for one in hours}
        if trial is None or (trial.champion, trial.challenger) not in versions:
            return b""
        return gate_line(spec, trial, read_shadow(shadow_path(self.checkpoint, spec.region)))


def judged_hour(champion: Forecast, challenger: Forecast, closed: ClosedHorizon, spec: Spec) -> ShadowHour:
    """Both forecasts against what was observed, and the champion's baseline."""
    h, observed = closed.horizon, closed.observed
    sums: dict[str, Any] = {
        name: float(log_scores(mean[:, :, h], observed, dispersion[:, h]).sum())
        for name, mean, dispersion in (
            ("champion", champion.expected, champion.dispersion),
            ("challenger", challenger.expected, challenger.dispersion),
            ("baseline", champion.usual, champion.dispersion),
        )
    }
    for name, values in (
        ("observed", observed.sum(axis=0)),
        ("champion_expected", champion.expected[:, :, h].sum(axis=0, dtype=float)),
        ("challenger_expected", challenger.expected[:, :, h].sum(axis=0, dtype=float)),
    ):
        sums[name] = dict(zip(spec.categories, values.tolist(), strict=True))
    return ShadowHour(
        tick_s=closed.tick_s,
        horizon=spec.horizon_names[h],
        champion_version=champion.model,
        challenger_version=challenger.model,
        values=observed.size,
        **sums,
    )


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
    days = days_of(
        known,
        horizon=spec.horizon_names[0],
        champion=trial.champion,
        challenger=trial.challenger,
        timezone=spec.timezone,
    )
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
    }
    newest_s = max(one.tick_s for one in known)
    return point_line("gate", {"region": spec.region}, fields, newest_s // DAY_S * DAY_S)

"""Judges what the job has left, forecasts of champion and challenger, by what came, and teaches their followers.

It is a process of its own. A file of closed counts is deleted when its points are stored and its hours are on disk. So
a kill loses nothing: what was judged but not deleted is judged again, to the same hours and points. What a follower has
learned until an hour is a file for that hour, which never changes.
"""

import dataclasses
import logging
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from msgspec.structs import replace

from lifecycle.archive import FeedLog
from lifecycle.gate import Trial, judge_hours, read_trial
from lifecycle.shadow import ShadowHour, add_hours, days_of, drop_unneeded, judged_hours, shadow_path
from lifecycle.triggers import Asked, drift_of, read_asked
from models.artifact import read_artifact, read_spec
from models.dispersion import log_scores
from models.follower import FinalOutcome, FollowedFactors, Follower, Parts, followed_change
from models.following import GUARDS, FollowerState
from models.local_time import hour_of_week, zone_of
from models.outcomes import Forecast
from schemas.audit import AuditRecord, read_log, records
from schemas.errors import ArtifactError, AuditError, CheckpointError, DataError, RiskError
from schemas.files import exclusive, write_errors
from schemas.forecasts import (
    ClosedFiles,
    ClosedHorizon,
    FollowedChange,
    FollowerStates,
    KeptForecast,
    KeptForecasts,
    closed_folder,
    forecasts_folder,
    outcomes_folder,
    read_follower_state,
    trial_folder,
)
from schemas.frame import is_baseline
from schemas.records import read_roster, roster_path
from schemas.spec import DAY_S, HOUR_S, Spec
from streaming.settings import Settings
from streaming.sinks.line_protocol import point_line

log = logging.getLogger(__name__)
_WORTH_A_POINT = 1.1  # factor of a cell, or its inverse
_Judged = tuple[ClosedHorizon, KeptForecast]


@dataclass(slots=True, kw_only=True)
class Teacher:
    """Teaches the followers of a region's champion and challenger."""

    checkpoint: Path
    artifacts: Path
    _followers: dict[str, Follower] = field(default_factory=dict)  # by version

    def teach(self, spec: Spec, closed: Sequence[ClosedHorizon], cut: Collection[int] = ()) -> bytes:
        """Learn last judgements that were due at the same time. cut: hours since 1970 that say nothing of the city.

        Gives the points of the version that scored. What was learned before stays as it is, and gives them again.
        Raises CheckpointError, and ArtifactError when the version that scored is gone; a fault of another one is said.
        """
        judged_s = max((horizon.judged_s for horizon in closed), default=0)
        hour_s = -(-judged_s // HOUR_S) * HOUR_S + HOUR_S  # a whole one: a late limit may be any number of seconds
        whole = []
        for horizon in closed:
            end_s = horizon.tick_s + spec.horizons_s[horizon.horizon]
            if set(cut).isdisjoint(range(horizon.tick_s // HOUR_S, -(-end_s // HOUR_S))):
                whole.append(horizon)
        shown, beside = (
            [
                (horizon, kept)
                for horizon in whole
                if (kept := KeptForecasts(folder).read(spec, horizon.tick_s)) and not is_baseline(kept.model)
            ]
            for folder in (outcomes_folder(self.checkpoint), forecasts_folder(self.checkpoint))
        )
        judged: dict[str, list[_Judged]] = {}  # by version
        for pair in (*shown, *beside):
            judged.setdefault(pair[1].model, []).append(pair)
        # A day long after a promotion a version's long horizons began as the challenger's.
        scored = max(shown, key=lambda pair: pair[0].tick_s)[1].model if shown else ""
        of_scored = judged.pop(scored, [])
        for version, of_version in judged.items():
            try:
                self._teach(spec, version, of_version, hour_s)
            except (RiskError, OSError) as error:
                log.warning("region=%s follower of %s has not learned an hour reason=%s", spec.region, version, error)
        return self._teach(spec, scored, of_scored, hour_s) if of_scored else b""

    def _teach(self, spec: Spec, version: str, judged: Sequence[_Judged], hour_s: int) -> bytes:
        """Teach the follower of a version what came of its forecasts. Gives its points."""
        if version not in self._followers:
            artifact = read_artifact(self.artifacts / spec.region / version)
            self._followers[version] = Follower.of(artifact.spec, artifact.constants)
        follower, states = self._followers[version], FollowerStates.of(self.checkpoint, spec.region, version)
        outcomes = list[FinalOutcome]()
        for horizon, kept in judged:
            followed = states.path(int(kept.following)) if kept.following else None
            if followed and not followed.exists():
                continue  # following begins anew: what this forecast followed is gone
            outcomes.append(
                FinalOutcome(
                    horizon=horizon.horizon,
                    tick_s=horizon.tick_s,
                    raw=(kept.expected if kept.raw is None else kept.raw)[:, :, horizon.horizon],
                    observed=horizon.observed,
                    following=follower.at(_state(followed, spec), horizon.tick_s),
                )
            )
        before_s = hour_s - HOUR_S
        if (learned := states.path(hour_s)).exists():
            state = _state(learned, spec)
        else:
            newest = states.newest(before_s)
            state = _state(newest, spec)
            if newest and newest != states.for_forecast(before_s):  # nothing was learned for days: it has aged
                waited_s = np.asarray(state.waited_s + hour_s - int(newest.stem))
                state = dataclasses.replace(state, waited_s=waited_s)
            state = follower.learn(state, outcomes)
            states.write(hour_s, state.arrays())

        def shown(at_s: int) -> FollowedFactors | None:
            path = states.for_forecast(at_s)
            return FollowedFactors.of(_state(path, spec)) if path else None

        change = followed_change(shown, hour_s)
        states.say(FollowedChange(hour_s, *change) if change else None)
        gained = np.zeros(len(spec.categories))
        came = np.zeros(len(spec.categories), np.int64)
        for outcome in outcomes:
            if outcome.horizon == 0:
                gained += follower.gained(outcome)
                came += outcome.observed.sum(axis=0)
        return following_lines(spec, version, state, before_s, zip(gained.tolist(), came.tolist(), strict=True))


def _state(path: Path | None, spec: Spec) -> FollowerState:
    """What a file says; without one, that nothing is known. Raises CheckpointError."""
    if path is None:
        return FollowerState.new(spec)
    try:
        return FollowerState.checked(read_follower_state(path), spec)
    except DataError as error:
        raise CheckpointError(f"{path}: {error.message}", "delete the folder: following begins anew") from error


@dataclass(slots=True, kw_only=True)
class TrialJudge:
    """Judges region by region.

    store: writes line protocol, and returns when it is durable. cut_hours: of a region, hours since 1970 until the one
    that begins then that say nothing of it. The log of batches says it, often only later: of a silence when it has
    lasted long enough.
    """

    checkpoint: Path
    artifacts: Path
    store: Callable[[bytes], object]
    cut_hours: Callable[[Spec, int], Collection[int]] = lambda spec, newest_s: ()
    audit: Path | None = None  # the log, which says who chose what scores
    teacher: Teacher | None = None  # of the region's followers; None: nobody follows

    def judge(self, spec: Spec) -> int:
        """Judge all that waits in a region. Gives how many forecasts were judged. Raises RiskError.

        Of a damaged file its hours are lost, and said.
        """
        files, number = ClosedFiles(closed_folder(self.checkpoint)), 0
        lines: list[bytes] = []
        waiting = files.waiting(spec.region)
        for path in waiting:
            try:
                closed = files.read(path, spec)
            except CheckpointError as error:
                log.warning("region=%s some hours are not judged reason=%s", spec.region, error)
                continue
            if self.teacher and closed:
                try:
                    cut = self.cut_hours(spec, max(horizon.tick_s + max(spec.horizons_s) for horizon in closed))
                    lines.append(self.teacher.teach(spec, closed, cut))
                except (RiskError, OSError) as error:  # the judgement goes on
                    log.warning("region=%s its follower has not learned an hour reason=%s", spec.region, error)
            hours = []
            for horizon in closed:
                if champion := self._forecast(outcomes_folder(self.checkpoint), spec, horizon.tick_s):
                    challenger = self._forecast(forecasts_folder(self.checkpoint), spec, horizon.tick_s)
                    hours.append(judged_hour(champion, challenger, horizon, spec))
            number += len(hours)
            if hours:
                lines.append(self._points(spec, hours, max(horizon.judged_s for horizon in closed)))
        if written := b"".join(lines):
            self.store(written)
        for path in waiting:
            path.unlink(missing_ok=True)
        return number

    def _forecast(self, folder: Path, spec: Spec, tick_s: int) -> Forecast | None:
        """The forecast of an hour; None without one that can be read."""
        try:
            stored = KeptForecasts(folder).read(spec, tick_s)
            return Forecast.of_kept(stored) if stored else None
        except CheckpointError as error:
            log.warning("region=%s hour=%d is judged without a forecast reason=%s", spec.region, tick_s, error)
            return None

    def _points(self, spec: Spec, hours: Sequence[ShadowHour], now_s: int) -> bytes:
        """Put the deciding hours on disk. Gives the points that they lead to."""
        deciding = [hour for hour in hours if hour.horizon == spec.horizon_names[0]]
        newest_s = max((hour.tick_s for hour in deciding), default=0)

        def so_far(champion: str = "") -> list[ShadowHour]:
            """All that was judged until these: a second judgement after a kill must not see later ones."""
            return [hour for hour in judged_hours(self.checkpoint, spec, champion) if hour.tick_s <= newest_s]

        add_hours(self.checkpoint, spec, deciding)
        lines = b"".join(shadow_line(spec.region, hour) for hour in hours if hour.challenger_version)
        if self.audit and self.audit.exists():
            version = max(hours, key=lambda hour: hour.tick_s).champion_version
            try:
                lines += decided_line(spec, version, list(records(read_log(self.audit))), now_s)
            except AuditError as error:
                log.warning("region=%s nobody knows who chose its version reason=%s", spec.region, error)
        local = np.floor(hour_of_week(np.array([hour.tick_s for hour in deciding], np.int64), spec.timezone)) % 24
        may_end_a_day = bool(np.isin(local, (0, 23)).any())  # the first or the last hour of a local day
        if may_end_a_day:
            self._cut_out(spec, newest_s)
        trial, is_damaged = None, False
        try:
            if asked := read_asked(self.artifacts, spec.region):
                lines += retrain_line(spec.region, asked, now_s)
        except ArtifactError as error:
            log.warning("region=%s nobody knows when it was last asked reason=%s", spec.region, error)
        try:
            trial = read_trial(self.artifacts, spec.region)
        except ArtifactError as error:  # drift is that of what scores, whatever became of a trial
            log.warning("region=%s has no judgement of its trial reason=%s", spec.region, error)
            is_damaged = True
        tried_s = [hour.tick_s for hour in deciding if hour.challenger_version]
        if trial and trial.champion in {hour.champion_version for hour in deciding}:
            if may_end_a_day:
                lines += gate_line(spec, trial, so_far(trial.champion))
        elif tried_s and not is_damaged:  # in a trial that has ended: nobody is awaited
            lines += point_line("gate", {"region": spec.region}, {"awaited": 0.0}, _midnight(max(tried_s)))
        if any(hour.tick_s % DAY_S == 0 for hour in deciding):  # once a day
            all_hours = so_far()
            lines += drift_lines(spec, all_hours)
            if is_damaged:  # nobody knows whose hours its trial needs
                return lines
            named = [hour for hour in all_hours if not is_baseline(hour.champion_version)]
            champions = {max(named, key=lambda hour: hour.tick_s).champion_version} if named else set()
            champions |= {trial.champion} if trial else set()
            path = shadow_path(self.checkpoint, spec.region)
            drop_unneeded(path, champions=champions, newest_s=max(hour.tick_s for hour in all_hours))
        return lines

    def _cut_out(self, spec: Spec, newest_s: int) -> None:
        """Write again the newest hours that are now known to say nothing: of two lines of an hour the last counts."""
        try:
            cut = self.cut_hours(spec, newest_s)
        except (RiskError, OSError) as error:
            log.warning("region=%s nobody knows in which hours its feed was silent reason=%s", spec.region, error)
            return
        width = spec.horizons_s[0] // HOUR_S
        first = {hour - before for hour in cut for before in range(width)}  # of forecasts that reach into one
        newest = {hour.tick_s: hour for hour in judged_hours(self.checkpoint, spec)} if cut else {}
        cut_out = [replace(hour, is_cut=True) for hour in newest.values() if hour.tick_s // HOUR_S in first]
        add_hours(self.checkpoint, spec, cut_out)


def judge_of(settings: Settings, store: Callable[[bytes], object]) -> TrialJudge:
    """The judge of a job's settings. store: as in `TrialJudge`."""
    checkpoint, artifacts = settings.checkpoint, settings.artifacts
    teacher = Teacher(checkpoint=checkpoint, artifacts=artifacts) if settings.follow == "on" else None
    return TrialJudge(
        checkpoint=checkpoint,
        artifacts=artifacts,
        store=store,
        cut_hours=FeedLog(checkpoint).newest_cut_hours,
        audit=settings.audit,
        teacher=teacher,
    )


def judge_all(judge: TrialJudge, say: Callable[[str], None]) -> RiskError | None:
    """Judge every region of the job's roster. Gives the first fault; a fault of one region keeps no other one back."""
    first: RiskError | None = None
    folder = trial_folder(judge.checkpoint)
    try:
        roster = read_roster(roster_path(judge.checkpoint))
        with write_errors(CheckpointError, folder), exclusive(folder / ".lock"):
            for region, entry in sorted(roster.items()):
                try:
                    if number := judge.judge(read_spec(Path(entry.folder))):
                        say(f"{region}: {number} forecasts are judged")
                except RiskError as error:
                    first = first or error
                    say(f"{region}: {error}")
    except RiskError as error:
        return first or error
    return first


def judged_hour(champion: Forecast, challenger: Forecast | None, closed: ClosedHorizon, spec: Spec) -> ShadowHour:
    """The forecasts as shown against what was observed, the champion's network alone, and its baseline."""
    h, observed, beside = closed.horizon, closed.observed, challenger or champion
    forecasts = {
        "champion": (champion.expected, champion.dispersion),
        "challenger": (beside.expected, beside.dispersion),
        "baseline": (champion.usual, champion.usual_dispersion),
    }
    if champion.raw is not None:
        forecasts["alone"] = (champion.raw, champion.dispersion)
    sums: dict[str, Any] = {
        name: float(log_scores(mean[:, :, h].astype(np.float64), observed, dispersion[..., h]).sum())
        for name, (mean, dispersion) in forecasts.items()
    }
    amounts = {"observed": observed.sum(axis=0)} | {
        f"{name}_expected": mean[:, :, h].sum(axis=0, dtype=float)
        for name, (mean, _) in forecasts.items()
        if name != "baseline"
    }
    for name, values in amounts.items():
        sums[name] = dict(zip(spec.categories, values.tolist(), strict=True))
    return ShadowHour(
        tick_s=closed.tick_s,
        horizon=spec.horizon_names[h],
        champion_version=champion.model,
        challenger_version=challenger.model if challenger else "",
        values=observed.size,
        **sums,
    )


_DECISIONS = {"model_promoted": "made champion", "model_rolled_back": "taken back"}


def shadow_line(region: str, hour: ShadowHour) -> bytes:
    """An hour's judgement as line protocol at the forecast's own time; log scores are means per value."""
    fields: dict[str, float | int | str] = {
        f"{name}_log_score": getattr(hour, name) / hour.values for name in ("champion", "challenger", "baseline")
    }
    for name in ("observed", "champion_expected", "challenger_expected"):
        fields[name] = sum(getattr(hour, name).values())
    versions = {"champion": hour.champion_version, "challenger": hour.challenger_version}
    return point_line("shadow", {"horizon": hour.horizon, "region": region}, {**fields, **versions}, hour.tick_s)


def gate_line(spec: Spec, trial: Trial, hours: Sequence[ShadowHour]) -> bytes:
    """What the gate says of the days so far, as line protocol at the newest day; nothing before there are bounds.

    A challenger that fails is reported without them.
    """
    judgement = judge_hours(trial, spec, hours)
    bounds = {"difference": judgement.difference, "low": judgement.low, "high": judgement.high}
    if not math.isfinite(judgement.high):
        if judgement.decision == "go on":
            return b""
        bounds = {}
    fields: dict[str, float | int | str] = {
        **bounds,
        "margin": judgement.margin,
        "days": judgement.days,
        "failed_hours": sum(judgement.failed.values()),
        "decision": judgement.decision,
        "because": judgement.because,
        "challenger": trial.challenger,
        "awaited": float(judgement.decision != "go on"),
    }
    return point_line("gate", {"region": spec.region}, fields, _midnight(max(hour.tick_s for hour in hours)))


def drift_lines(spec: Spec, hours: Sequence[ShadowHour]) -> bytes:
    """The observed over expected of the version that scored last, as points at its newest day; see `drift_of`."""
    newest = max(hours, key=lambda hour: hour.tick_s)
    days = days_of(hours, spec, champion=newest.champion_version, challenger=None)
    return b"".join(
        point_line(
            "drift",
            {"category": drift.name, "region": spec.region},
            {"ratio": drift.ratio, "low": drift.low, "high": drift.high, "champion": newest.champion_version},
            _midnight(newest.tick_s),
        )
        for drift in drift_of(days)
        if math.isfinite(drift.high)
    )


def retrain_line(region: str, asked: Asked, now_s: int) -> bytes:
    """What became of a region's last ask, and when one last made a challenger; at `now_s`, the region's clock."""
    fields: dict[str, float | int | str] = {"outcome": asked.outcome, "because": asked.because}
    if asked.made_s is not None:
        fields["made_ago_s"] = float(max(0, now_s - asked.made_s))
    return point_line("retrain", {"region": region}, fields, now_s)


def decided_line(spec: Spec, version: str, audit: Sequence[AuditRecord], now_s: int) -> bytes:
    """Who made the version that scores champion, when and why; nothing where no record says it. At the region's clock.

    audit: the log, in its order.
    """
    for each in reversed(audit):
        of = each.details
        is_champion = of.get("role", "champion") == "champion"
        if each.event in _DECISIONS and is_champion and (of["region"], of["version"]) == (spec.region, version):
            when = each.at.astimezone(zone_of(spec.timezone))
            says = f"{_DECISIONS[each.event]} by {of['by']} on {when:%d %b %Y at %H:%M}: {of['because']}"
            return point_line("decided", {"region": spec.region}, {"champion": version, "says": says}, now_s)
    return b""


def following_lines(
    spec: Spec, version: str, state: FollowerState, at_s: int, gains: Iterable[tuple[float, int]]
) -> bytes:
    """What a follower knows, as points; cells once a day, those whose factor says something.

    gains: of each category, nats that following gained in the newest hour, and incidents that came in it.
    """
    parts, lines, still = Parts.of(state), [], state.still[GUARDS]
    for place, (category, (gained, came)) in enumerate(zip(spec.categories, gains, strict=True)):
        tags = {"category": category, "region": spec.region}
        fields = {"level": parts.level[place, 0], "as_usual": still[place], "gained": gained, "incidents": float(came)}
        lines.append(point_line("following", tags, {**fields, "model": version}, at_s))
        for hour, factor in enumerate(parts.hours[place]):
            of_hour = {"category": category, "hour": f"{hour:02d}", "region": spec.region}
            lines.append(point_line("following_hour", of_hour, {"factor": factor}, at_s))
        if at_s % DAY_S == 0:
            factors, ids, geohashes = parts.cells[place], spec.grid.cell_ids(), spec.grid.geohashes()
            for cell in np.flatnonzero(np.abs(np.log(factors)) > np.log(_WORTH_A_POINT)):
                of_cell = {"category": category, "cell": ids[cell], "geohash": geohashes[cell], "region": spec.region}
                lines.append(point_line("following_cell", of_cell, {"factor": factors[cell]}, at_s))
    return b"".join(lines)


def _midnight(at_s: int) -> int:
    """Before, UTC."""
    return at_s // DAY_S * DAY_S

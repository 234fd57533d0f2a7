"""Judges what the job has left: forecasts of champion and challenger, and what came. A process of its own.

A file of closed counts is deleted when its points are stored and its hours are on disk. So a kill loses nothing: what
was judged but not deleted is judged again, to the same hours and points.
"""

import logging
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from msgspec.structs import replace

from lifecycle.gate.asked import read_asked
from lifecycle.gate.judged_hour import judged_hour
from lifecycle.gate.shadow_day import ShadowHour, drop_unneeded, judged_hours, shadow_path
from lifecycle.gate.trial import Trial, read_trial
from lifecycle.trials.points import (
    decided_line,
    drift_lines,
    gate_line,
    nobody_is_awaited_line,
    posts_lines,
    retrain_line,
    shadow_line,
)
from lifecycle.trials.teach import Teacher
from models.local_time import hour_of_week
from models.measures.outcomes import Forecast
from schemas.audit.verify import read_log, records
from schemas.errors import ArtifactError, AuditError, CheckpointError, RiskError
from schemas.files import open_for_append, write_errors
from schemas.frame import is_baseline
from schemas.left_behind.closed_counts import ClosedFiles, ClosedHorizon, closed_folder
from schemas.left_behind.kept_forecasts import KeptForecasts, forecasts_folder, outcomes_folder
from schemas.left_behind.posts_measured import read_posts_measured
from schemas.spec import DAY_S, HOUR_S, Spec

log = logging.getLogger(__name__)


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
            lines.append(self._teach(spec, closed))
            hours = list(self._judged(spec, closed))
            number += len(hours)
            if hours:
                lines.append(self._points(spec, hours, max(horizon.judged_s for horizon in closed)))
        if written := b"".join(lines):
            self.store(written)
        for path in waiting:
            path.unlink(missing_ok=True)
        return number

    def _teach(self, spec: Spec, closed: Sequence[ClosedHorizon]) -> bytes:
        """The points of what a follower learned. What it cannot learn is said; the judgement goes on."""
        if self.teacher is None or not closed:
            return b""
        try:
            cut = self.cut_hours(spec, max(horizon.tick_s + max(spec.horizons_s) for horizon in closed))
            return self.teacher.teach(spec, closed, cut)
        except (RiskError, OSError) as error:
            log.warning("region=%s its follower has not learned an hour reason=%s", spec.region, error)
            return b""

    def _judged(self, spec: Spec, closed: Sequence[ClosedHorizon]) -> Iterator[ShadowHour]:
        for horizon in closed:
            if champion := self._forecast(outcomes_folder(self.checkpoint), spec, horizon.tick_s):
                challenger = self._forecast(forecasts_folder(self.checkpoint), spec, horizon.tick_s)
                yield judged_hour(champion, challenger, horizon, spec)

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
        self._append(spec, deciding)
        lines = b"".join(shadow_line(spec.region, hour) for hour in hours if hour.challenger_version)
        version = max(hours, key=lambda hour: hour.tick_s).champion_version
        lines += self._decided(spec, version, now_s) + self._posts(spec, version, now_s)
        if may_end_a_day(spec, deciding):
            self._cut_out(spec, max(hour.tick_s for hour in deciding))
        try:
            if asked := read_asked(self.artifacts, spec.region):
                lines += retrain_line(spec.region, asked, now_s)
            trial = read_trial(self.artifacts, spec.region)
        except ArtifactError as error:
            log.warning("region=%s has no judgement of its trial reason=%s", spec.region, error)
            return lines
        lines += self._gate(spec, trial, deciding)
        if any(hour.tick_s % DAY_S == 0 for hour in deciding):  # once a day
            so_far = self._known(spec, deciding)
            lines += drift_lines(spec, so_far)
            self._drop_unneeded(spec, trial, so_far)
        return lines

    def _decided(self, spec: Spec, version: str, now_s: int) -> bytes:
        """Why the version scores. Without an audit log nobody knows; the judgement goes on."""
        if self.audit is None or not self.audit.exists():
            return b""
        try:
            return decided_line(spec, version, list(records(read_log(self.audit))), now_s)
        except AuditError as error:
            log.warning("region=%s nobody knows who chose its version reason=%s", spec.region, error)
            return b""

    def _posts(self, spec: Spec, version: str, now_s: int) -> bytes:
        """What posts that follow the model gained, where units answer calls and it was measured."""
        try:
            measured = read_posts_measured(self.artifacts, spec.region) if spec.answered_by else None
        except ArtifactError as error:
            log.warning("region=%s nobody knows what its posts gain reason=%s", spec.region, error)
            return b""
        return posts_lines(spec, measured, version, now_s) if measured else b""

    def _known(self, spec: Spec, hours: Sequence[ShadowHour], champion: str = "") -> list[ShadowHour]:
        """All that was judged until these: a second judgement after a kill must not see later ones."""
        newest_s = max(hour.tick_s for hour in hours)
        return [hour for hour in judged_hours(self.checkpoint, spec, champion) if hour.tick_s <= newest_s]

    def _append(self, spec: Spec, hours: Sequence[ShadowHour]) -> None:
        """Write the hours that are not there yet."""
        there = {(hour.tick_s, hour.is_cut) for hour in judged_hours(self.checkpoint, spec)} if hours else set()
        cut_s = {tick_s for tick_s, is_cut in there if is_cut}
        new = [hour for hour in hours if (hour.tick_s, hour.is_cut) not in there and hour.tick_s not in cut_s]
        path = shadow_path(self.checkpoint, spec.region)
        lines = b"".join(msgspec.json.encode(hour) + b"\n" for hour in new)
        if not lines:
            return
        with write_errors(CheckpointError, path, remedy="free disk space"), open_for_append(path) as file:
            if file.write(lines) < len(lines):
                raise CheckpointError(f"{path} took only a part of a line", remedy="free disk space")
            os.fsync(file.fileno())

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
        self._append(spec, [replace(hour, is_cut=True) for hour in newest.values() if hour.tick_s // HOUR_S in first])

    def _gate(self, spec: Spec, trial: Trial | None, hours: Sequence[ShadowHour]) -> bytes:
        """The judgement of the region's trial, when a local day may have ended; without one, that none awaits."""
        if trial and trial.champion in {hour.champion_version for hour in hours}:
            if not may_end_a_day(spec, hours):
                return b""
            return gate_line(spec, trial, self._known(spec, hours, trial.champion))
        tried_s = [hour.tick_s for hour in hours if hour.challenger_version]  # in a trial that has ended
        return nobody_is_awaited_line(spec.region, max(tried_s)) if tried_s else b""

    def _drop_unneeded(self, spec: Spec, trial: Trial | None, so_far: Sequence[ShadowHour]) -> None:
        named = [hour for hour in so_far if not is_baseline(hour.champion_version)]
        champions = {max(named, key=lambda hour: hour.tick_s).champion_version} if named else set()
        newest_s, path = max(hour.tick_s for hour in so_far), shadow_path(self.checkpoint, spec.region)
        with write_errors(CheckpointError, path, remedy="free disk space"):
            drop_unneeded(path, champions=champions | ({trial.champion} if trial else set()), newest_s=newest_s)


def may_end_a_day(spec: Spec, hours: Sequence[ShadowHour]) -> bool:
    """Whether one of them is the first or the last of a local day."""
    local = np.floor(hour_of_week(np.array([hour.tick_s for hour in hours], np.int64), spec.timezone)) % 24
    return bool(np.isin(local, (0, 23)).any())

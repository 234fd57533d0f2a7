"""Looks for new artifacts while the job runs; logs and records once which were taken over and which refused."""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from schemas.audit.log import AuditEvent, Plain, record
from schemas.errors import ArtifactError, ArtifactsAway
from schemas.left_behind.pointer import POINTER, pointer_path
from schemas.left_behind.roster import Entry, roster_path
from schemas.limits import CLOCKS_DIFFER_S
from streaming.roster.roster import ArtifactScan, Refused, is_gone, load_artifact, refresh_roster, with_refused
from streaming.settings import Settings

log = logging.getLogger(__name__)
_ROSTER_EVERY_S = 2.0
Take = Callable[[Mapping[str, Entry]], None]  # of whoever scores by the roster


def latest_history_s(clock: str, now_s: float) -> float:
    """Latest end of the history that a region may begin with: on the wall clock, now."""
    return now_s + CLOCKS_DIFFER_S if clock == "wall" else math.inf


def _written(path: Path) -> int:
    """When the file was put there, in nanoseconds; 0 for none."""
    try:
        return path.lstat().st_ctime_ns
    except OSError:
        return 0


def _once(refused: Refused) -> str:
    """What is reported once: a folder, which may be copied file by file; of a pointer, written whole, each damage."""
    is_pointer = Path(refused.folder).name == POINTER
    return f"{refused.folder}: {refused.error}" if is_pointer else refused.folder


@dataclass(slots=True, kw_only=True)
class RosterWatch:
    """Looks for new artifacts from time to time, hands on the roster, and reports once which were refused.

    A start needs its artifacts. A running job has them in memory, and continues when their folder is away.
    """

    artifacts: Path
    checkpoint: Path
    audit: Path
    clock: str
    take: Take
    masked: str = ""  # the digest of the job's masks
    _due_s: float = 0.0
    _reported: frozenset[str] = frozenset()  # folders, and what `_once` gives of those that were refused
    _is_away: bool = False
    _pointers: dict[Path, int] = field(default_factory=dict)  # of the regions in force, and when each was written
    _scan: ArtifactScan = field(default_factory=ArtifactScan)
    _challengers: Mapping[str, str] = field(default_factory=dict)  # region -> version that is tried

    @classmethod
    def of(cls, settings: Settings, *, take: Take = lambda roster: None, masked: str = "") -> "RosterWatch":
        values = settings.model_dump(include={"checkpoint", "audit", "clock"})
        return cls(artifacts=settings.artifacts.absolute(), take=take, masked=masked, **values)

    def challenger(self, region: str) -> str | None:
        """The version that is tried beside the one in force, as the newest look found it; None without one."""
        return self._challengers.get(region)

    def look(self, now_s: float) -> None:
        """At the first look, raises ArtifactError when a region has no artifact that may score it, or none exists.

        Folders are looked at every two seconds, pointers at every call: nobody waits for a rollback.
        """
        if now_s < self._due_s and all(_written(path) == at for path, at in self._pointers.items()):
            return
        self._due_s = now_s + _ROSTER_EVERY_S
        is_start = not self._reported
        self._pointers = {path: _written(path) for path in self._pointers}  # before they are read
        try:
            roster, refused = refresh_roster(
                roster_path(self.checkpoint),
                self.artifacts,
                latest_s=latest_history_s(self.clock, time.time()),
                scan=self._scan,
                masked=self.masked,
            )
            gone = next((entry.folder for entry in roster.values() if is_gone(entry)), None)
            away = ArtifactError(f"{gone}, in force for this checkpoint, is gone", "restore it") if gone else None
            if away and is_start:
                raise with_refused(away, refused)
            self.take(roster)
        except (ArtifactsAway, OSError) as error:
            if is_start:
                raise
            self._note_absence(str(error))
            return
        self._note_absence(str(away or ""))
        self._report(roster, refused)
        self._challengers = {
            region: Path(entry.challenger).name for region, entry in roster.items() if entry.challenger
        }
        self._pointers = {
            path: self._pointers.get(path, 0) for path in (pointer_path(self.artifacts, region) for region in roster)
        }
        if not roster:
            remedy = "train one with `python -m models train`, or name the folder with RISK_ARTIFACTS"
            raise with_refused(ArtifactError(f"no usable artifact in {self.artifacts}", remedy), refused)

    def _report(self, roster: Mapping[str, Entry], refused: Sequence[Refused]) -> None:
        """Log and record the artifacts that were refused or taken over since the last look."""
        for each in refused:
            if _once(each) not in self._reported:
                log.warning("artifact=%s refused reason=%s", each.folder, each.error)
                self._record("artifact_refused", {"folder": each.folder, "reason": str(each.error)})
        for region, entry in roster.items():
            if entry.folder not in self._reported:
                fault = load_artifact(entry.folder).network_fault
                log.info("region=%s artifact=%s in force", region, entry.version)
                details = {"region": region, "version": entry.version, "spec": entry.fingerprint}
                self._record("artifact_in_force", {**details, "folder": entry.folder, "network_fault": fault})
                if fault:
                    log.warning("region=%s artifact=%s scores by its baseline only: %s", region, entry.version, fault)
        self._reported = frozenset(map(_once, refused)) | {entry.folder for entry in roster.values()}

    def _note_absence(self, reason: str) -> None:
        """Log once when artifacts that a start needs are away, and once when they are back. reason: "" if they are."""
        if reason and not self._is_away:
            log.warning("%s; this job continues with the artifacts in memory, but the next start would fail", reason)
        if self._is_away and not reason:
            log.info("artifacts=%s is there again", self.artifacts)
        self._is_away = bool(reason)

    def _record(self, event: AuditEvent, details: Mapping[str, Plain]) -> None:
        record(self.audit, event, details, at_s=time.time(), checkpoint=self.checkpoint)

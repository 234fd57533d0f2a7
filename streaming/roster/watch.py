"""Looks for new artifacts while the job runs, and says and records once what came of them."""

import logging
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from schemas.errors import ArtifactError, ArtifactsAway
from schemas.limits import CLOCKS_DIFFER_S
from streaming.disk.audit import Event as AuditEvent
from streaming.disk.audit import Plain, record
from streaming.roster.roster import is_gone, load_artifact, refresh_roster
from streaming.roster.scan import Candidates
from streaming.settings import Settings

log = logging.getLogger(__name__)
_ROSTER_EVERY_S = 2.0


def roster_path(settings: Settings) -> Path:
    return settings.checkpoint.absolute() / "roster.json"


def latest_history_s(settings: Settings, now_s: float) -> float:
    """End of the latest history that a region may begin with: on the wall clock, now."""
    return now_s + CLOCKS_DIFFER_S if settings.clock == "wall" else math.inf


@dataclass(slots=True)
class RosterWatch:
    """Looks for new artifacts from time to time and says once what was refused.

    A start needs its artifacts. A job that runs has them in memory, and does not end when their folder is away.
    """

    settings: Settings
    _due_s: float = 0.0
    _told: frozenset[str] = frozenset()
    _is_away: bool = False
    _candidates: Candidates = field(default_factory=Candidates)

    def look(self, now_s: float) -> None:
        """Raises ArtifactError at the first look when a region has nothing that may score it, or there is none."""
        if now_s < self._due_s:
            return
        self._due_s = now_s + _ROSTER_EVERY_S
        before, is_start = self._told, not self._told
        try:
            roster, refused = refresh_roster(
                roster_path(self.settings),
                self.settings.artifacts.absolute(),
                latest_s=latest_history_s(self.settings, time.time()),
                candidates=self._candidates,
            )
        except (ArtifactsAway, OSError) as error:
            if is_start:
                raise
            self._say_away(str(error))
            return
        gone = next((entry.folder for entry in roster.values() if is_gone(entry)), "")
        away = f"{gone}, in force for this checkpoint, is gone: bring it back" if gone else ""
        if away and is_start:
            raise ArtifactError(away + "".join(f"; {one.folder}: {one.reason}" for one in refused))
        self._say_away(away)
        self._told = frozenset(one.folder for one in refused) | {entry.folder for entry in roster.values()}
        for one in refused:
            if one.folder not in before:
                log.warning("artifact=%s refused reason=%s", one.folder, one.reason)
                self._record("artifact_refused", {"folder": one.folder, "reason": one.reason})
        for region, entry in roster.items():
            if entry.folder not in before:
                fault = load_artifact(entry.folder).network_fault
                log.info("region=%s artifact=%s in force", region, entry.version)
                said = {"region": region, "version": entry.version, "spec": entry.fingerprint, "folder": entry.folder}
                self._record("artifact_in_force", {**said, "network_fault": fault})
                if fault:
                    log.warning("region=%s artifact=%s scores by its baseline only: %s", region, entry.version, fault)
        if not roster:
            raise ArtifactError(
                f"no usable artifact in {self.settings.artifacts}: train one with `python -m models train`, "
                "or name the folder with RISK_ARTIFACTS" + "".join(f"; {one.folder}: {one.reason}" for one in refused)
            )

    def _say_away(self, why: str) -> None:
        """Say once that what a start needs is away, and once that it is there again. why: empty when nothing is."""
        if why and not self._is_away:
            log.warning("%s; this job goes on with what it has in memory, the next start would not", why)
        if self._is_away and not why:
            log.info("artifacts=%s is there again", self.settings.artifacts)
        self._is_away = bool(why)

    def _record(self, event: AuditEvent, details: Mapping[str, Plain]) -> None:
        record(self.settings.audit, event, details, at_s=time.time(), checkpoint=self.settings.checkpoint)

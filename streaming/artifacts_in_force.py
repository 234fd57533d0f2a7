"""The roster: which artifact scores which region. The driver decides, the workers read its decision from a file.

With one writer and one file, every stage of every batch follows the same decision, on every worker and after every
restart. The file lies beside the checkpoint, because it also says for which spec each region's stored counts were
made: an artifact with another fingerprint is refused as long as that checkpoint is used.

`RosterWatch` looks for new artifacts while the job runs; it logs and records once which were taken over and which
refused.
"""

import logging
import math
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import update_wrapper
from pathlib import Path
from threading import Lock
from typing import Generic, NamedTuple, TypeVar

from msgspec.structs import replace

from models.artifact import (
    OTHER_CHAMPION,
    Artifact,
    Manifest,
    candidates_by_region,
    challenger_of,
    networks_tried_apart,
    read_artifact,
    read_spec,
    without_cause,
)
from schemas.areas import refuse_other_masks
from schemas.audit import AuditEvent, Plain, record
from schemas.errors import ArtifactError, ArtifactsAway, SpecMismatch
from schemas.limits import CLOCKS_DIFFER_S, MAX_REGIONS, MAX_SERIES
from schemas.records import POINTER, Entry, pointer_path, read_roster, roster_path, write_roster
from schemas.spec import Spec, differences
from streaming.settings import Settings

log = logging.getLogger(__name__)
T = TypeVar("T")
Stamp = tuple[tuple[str, int, int, int], ...]
Take = Callable[[Mapping[str, Entry]], None]  # of whoever scores by the roster
_ROSTER_EVERY_S = 2.0
KEPT_VERSIONS = 3  # the version in force, its challenger and, while they change, the one before or after


class ArtifactCache(Generic[T]):
    """A process's cache: `read(folder)`, remembered for the KEPT_VERSIONS folders of each region that were used last.

    So it does not grow with every new version. A folder is <artifacts>/<region>/<version>, and never changes. When
    `read` raises, nothing is remembered.
    """

    def __init__(self, read: Callable[[str], T]) -> None:
        update_wrapper(self, read)
        self._read = read
        self._values: dict[str, dict[str, T]] = {}
        self._lock = Lock()

    def __call__(self, folder: str) -> T:
        region = folder.rpartition("/")[0]
        with self._lock:
            versions = self._values.setdefault(region, {})
            if folder in versions:
                versions[folder] = versions.pop(folder)
                return versions[folder]
        value = self._read(folder)
        self.keep(folder, value)
        return value

    def keep(self, folder: str, value: T) -> None:
        """Remember a value of `folder` that the caller has read, in place of the remembered one."""
        with self._lock:
            versions = self._values.setdefault(folder.rpartition("/")[0], {})
            versions.pop(folder, None)
            versions[folder] = value
            while len(versions) > KEPT_VERSIONS:
                del versions[next(iter(versions))]

    def __reduce__(self) -> str:
        """Pickle by name, as a function of a module. Spark sends it to its workers, and each fills its own cache."""
        return self._read.__qualname__


@dataclass(frozen=True, slots=True)
class Refused:
    """An artifact that was not taken over, or the pointer that names none, and why."""

    folder: str
    error: ArtifactError


class ScannedArtifact(NamedTuple):
    """The parts of an artifact that decide whether it may come into force."""

    manifest: Manifest
    network_error: ArtifactError | None


class ArtifactScan:
    """Remembers by folder what it contains, or why it cannot be used, until its files change.

    It does not keep the artifacts themselves: refused ones may lie there for months.
    """

    def __init__(self) -> None:
        self._scanned: dict[Path, tuple[Stamp, ScannedArtifact | ArtifactError]] = {}

    def look(self, folder: Path) -> tuple[ScannedArtifact, Artifact | None]:
        """What the folder contains, and the artifact itself if it was read just now. Raises ArtifactError."""
        stamp = stamp_of(folder)  # before reading: a change during the read shows at the next look
        artifact, last_look = None, self._scanned.get(folder)
        if last_look is None or last_look[0] != stamp:
            content: ScannedArtifact | ArtifactError
            try:
                artifact = read_artifact(folder)
                content = ScannedArtifact(artifact.manifest, artifact.network_error)
            except ArtifactError as error:
                content = without_cause(error)
            except OSError as error:
                content = ArtifactError(f"{folder} cannot be read ({error.strerror})", "check its owner and mode")
            self._scanned[folder] = last_look = stamp, content
        if isinstance(last_look[1], ArtifactError):
            raise without_cause(last_look[1])
        return last_look[1], artifact

    def forget_all_but(self, folders: Collection[Path]) -> None:
        self._scanned = {folder: content for folder, content in self._scanned.items() if folder in folders}


def stamp_of(folder: Path) -> Stamp:
    """Sizes and times of a folder and its files. It changes when a file is written, or its permissions change."""
    try:
        with os.scandir(folder) as entries:
            files = [("", folder.lstat()), *((entry.name, entry.stat(follow_symlinks=False)) for entry in entries)]
    except OSError:
        return ()
    return tuple(sorted((name, file.st_size, file.st_mtime_ns, file.st_ctime_ns) for name, file in files))


@ArtifactCache
def load_artifact(folder: str) -> Artifact:
    """The artifact in `folder`, read and verified once per process (a published folder never changes)."""
    return read_artifact(Path(folder))


@ArtifactCache
def spec_of(folder: str) -> Spec:
    return read_spec(Path(folder))


def refresh_roster(
    path: Path, artifacts: Path, *, latest_s: float = math.inf, scan: ArtifactScan | None = None, masked: str = ""
) -> tuple[dict[str, Entry], list[Refused]]:
    """Take over the best sound artifact of each region, and publish the roster if it changed.

    Gives what `next_roster` gives. Raises ArtifactError, and publishes nothing, where that does, and when an artifact
    in force would lie outside of `artifacts`.
    """
    before = read_roster(path)
    after, refused = next_roster(before, artifacts, latest_s=latest_s, scan=scan, masked=masked)
    if stray := misplaced(after, artifacts):
        raise with_refused(stray, refused)
    if after != before:
        write_roster(path, after)
    return after, refused


def next_roster(
    before: Mapping[str, Entry],
    artifacts: Path,
    *,
    latest_s: float = math.inf,
    scan: ArtifactScan | None = None,
    masked: str = "",
) -> tuple[dict[str, Entry], list[Refused]]:
    """The roster after `before`, and what was refused: artifacts that come before those in force, damaged pointers.

    A region never leaves the roster: its entry says for which spec its stored counts were made. latest_s: latest end
    of the history that a region may begin with, epoch seconds. scan: what earlier calls have found. masked: the digest
    of the job's masks. Raises ArtifactError when an artifact that stays in force has other ones.
    """
    scan = ArtifactScan() if scan is None else scan
    after = dict(before)
    refused: list[Refused] = []
    for region, choice in candidates_by_region(artifacts).items():
        in_force = before.get(region)
        if choice.fault:
            refused.append(Refused(str(choice.pointer), without_cause(choice.fault)))
        for folder in choice.folders:
            if in_force and str(folder) == in_force.folder:
                after[region] = in_force
                break
            try:
                content, artifact = scan.look(folder)
                refuse_other_masks(folder, content.manifest.spec.masked, masked)
                _refuse_misfit(region, folder, content, in_force, latest_s)
                if in_force is None:
                    _refuse_too_many(after, folder, content.manifest.spec.series)
                load_artifact.keep(str(folder), artifact or read_artifact(folder))
                after[region] = Entry(str(folder), content.manifest.version, content.manifest.spec.fingerprint())
                break
            except ArtifactError as error:
                reason = without_cause(error)
                if choice.pointer and not folder.exists():
                    reason = ArtifactError(f"{folder} is missing, and {choice.pointer} names it", OTHER_CHAMPION)
                elif choice.pointer:
                    names_it = f"{error.message}; {choice.pointer} names it"
                    reason = type(error)(names_it, f"{error.remedy}; or {OTHER_CHAMPION}")
                refused.append(Refused(str(folder), reason))
    for entry in after.values():
        if not is_gone(entry):
            refuse_other_masks(entry.folder, load_artifact(entry.folder).spec.masked, masked)
    after = {
        region: replace(entry, challenger=_challenger(region, entry, artifacts, scan, refused))
        for region, entry in after.items()
    }
    beside = {Path(entry.challenger) for entry in after.values() if entry.challenger}
    scan.forget_all_but(beside | {Path(each.folder) for each in refused})
    return after, refused


def is_gone(entry: Entry) -> bool:
    """Whether its folder is missing, as far as can be seen."""
    return not os.path.isdir(entry.folder)  # unlike Path's, it is False after any error


def misplaced(roster: Mapping[str, Entry], artifacts: Path) -> ArtifactError | None:
    """The error that names an artifact in force outside of `artifacts`; None when there is none."""
    for region, entry in roster.items():
        home = Path(entry.folder).parents[1]
        if home != artifacts:
            return ArtifactError(
                f"{artifacts} has no artifact of {region} that fits the checkpoint, which uses {entry.folder}",
                remedy=f"set RISK_ARTIFACTS to {home}, or put an artifact with that spec into {artifacts}",
            )
    return None


def with_refused(error: ArtifactError, refused: Sequence[Refused]) -> ArtifactError:
    """`error`, and behind its message each refused artifact with the reason."""
    reasons = [f"{each.folder}: {each.error}" for each in refused]
    return ArtifactError("; ".join([error.message, *reasons]), error.remedy)


def refuse_unfit(roster: Mapping[str, Entry], name: Path, artifact: Artifact, *, latest_s: float, masked: str) -> None:
    """Raise ArtifactError when a job with this roster would not take the artifact over. name: REGION/VERSION."""
    region, content = name.parts[0], ScannedArtifact(artifact.manifest, artifact.network_error)
    refuse_other_masks(name, artifact.spec.masked, masked)
    _refuse_misfit(region, name, content, roster.get(region), latest_s)
    if region not in roster:
        _refuse_too_many(roster, name, content.manifest.spec.series)


def _refuse_misfit(
    region: str, folder: Path, content: ScannedArtifact, in_force: Entry | None, latest_s: float
) -> None:
    """Raise ArtifactError when the artifact may not score the region in place of the one in force."""
    if in_force and (broken := content.network_error):
        raise ArtifactError(f"{broken.message}; {in_force.version} stays in force", broken.remedy)
    spec, cutoff_s = content.manifest.spec, content.manifest.data.cutoff_s
    if spec.region != region:
        raise ArtifactError(f"{folder} is for region {spec.region}", "move it to a folder with that region's name")
    if in_force and spec.fingerprint() != in_force.fingerprint:
        other = ""
        with suppress(ArtifactError):  # that artifact may be gone
            other = f" ({'; '.join(differences(spec_of(in_force.folder), spec))})"
        raise SpecMismatch(
            f"{folder} has spec {spec.fingerprint()}, but the stored counts of {region} have spec "
            f"{in_force.fingerprint}{other}",
            remedy=f"train with `--like {in_force.folder}`, which keeps that spec; for a new one, `checkpoint --reset`",
        )
    if in_force is None and cutoff_s > latest_s:
        fault = f"{folder} has counts up to {datetime.fromtimestamp(cutoff_s, UTC):%Y-%m-%d %H:%M}Z, in the future"
        raise ArtifactError(fault, remedy="set this machine's clock, or train again without future incidents")


def _challenger(region: str, entry: Entry, artifacts: Path, scan: ArtifactScan, refused: list[Refused]) -> str:
    """The folder of a challenger that may be scored beside the one in force; one that may not joins `refused`."""
    try:
        folder = challenger_of(artifacts, region)
    except ArtifactError:  # the pointer is damaged: `candidates_by_region` reports it
        return ""
    if folder is None or str(folder) == entry.folder:
        return ""
    try:
        _refuse_misfit(region, folder, scan.look(folder)[0], entry, math.inf)
    except ArtifactError as error:
        refused.append(Refused(str(folder), without_cause(error)))
        return ""
    return str(folder)


def _refuse_too_many(roster: Mapping[str, Entry], folder: Path, new: int) -> None:
    """Raise ArtifactError when the job or its store cannot carry one more region."""
    if len(roster) >= MAX_REGIONS:
        fault = f"{folder} would be region {len(roster) + 1}, and a job can have {MAX_REGIONS}"
        raise ArtifactError(fault, remedy="run a second job")
    present = sum(spec_of(entry.folder).series for entry in roster.values() if not is_gone(entry))
    if present + new > MAX_SERIES:
        fault = (
            f"{folder} would raise the store from {present:,} to {present + new:,} series; {MAX_SERIES:,} are allowed"
        )
        raise ArtifactError(fault, remedy="choose larger cells, or run a second job with its own store")


def latest_history_s(clock: str, now_s: float) -> float:
    """Latest end of the history that a region may begin with: on the wall clock, now."""
    return now_s + CLOCKS_DIFFER_S if clock == "wall" else math.inf


@dataclass(slots=True)
class RosterWatch:
    """Looks for new artifacts from time to time, hands on the roster, and reports once which were refused.

    A start needs its artifacts. A running job has them in memory, and continues when their folder is away.
    take: of whoever scores by the roster. masked: the digest of the job's masks.
    """

    settings: Settings
    take: Take = lambda roster: None
    masked: str = ""
    _due_s: float = 0.0
    _reported: frozenset[str] = frozenset()  # folders in force, and what was refused
    _is_away: bool = False
    _pointers: dict[Path, int] = field(default_factory=dict)  # of the regions in force, and when each was written
    _scan: ArtifactScan = field(default_factory=ArtifactScan)
    _challengers: Mapping[str, str] = field(default_factory=dict)  # region -> version that is tried

    def challenger(self, region: str) -> str | None:
        """The version that is tried beside the one in force, by the newest look; None without one."""
        return self._challengers.get(region)

    @networks_tried_apart()
    def look(self, now_s: float) -> None:
        """At the first look, raises ArtifactError when a region has no artifact that may score it, or none exists.

        Folders are looked at every two seconds, pointers at every call: nobody waits for a rollback.
        """
        if now_s < self._due_s and all(_written(path) == at for path, at in self._pointers.items()):
            return
        self._due_s = now_s + _ROSTER_EVERY_S
        is_start, artifacts = not self._reported, self.settings.artifacts.absolute()
        self._pointers = {path: _written(path) for path in self._pointers}  # before they are read
        try:
            roster, refused = refresh_roster(
                roster_path(self.settings.checkpoint),
                artifacts,
                latest_s=latest_history_s(self.settings.clock, time.time()),
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
        pointers = (pointer_path(artifacts, region) for region in roster)
        self._pointers = {path: self._pointers.get(path, 0) for path in pointers}
        if not roster:
            remedy = "train one with `risk train`, or name the folder with RISK_ARTIFACTS"
            raise with_refused(ArtifactError(f"no usable artifact in {artifacts}", remedy), refused)

    def _report(self, roster: Mapping[str, Entry], refused: Sequence[Refused]) -> None:
        """Log and record the artifacts that were refused or taken over since the last look."""

        def note(event: AuditEvent, details: Mapping[str, Plain]) -> None:
            record(self.settings.audit, event, details, at_s=time.time(), checkpoint=self.settings.checkpoint)

        reported = {entry.folder for entry in roster.values()}
        for each in refused:
            # A folder may be copied file by file: it is said once. A pointer is written whole: each damage is said.
            what = f"{each.folder}: {each.error}" if Path(each.folder).name == POINTER else each.folder
            reported.add(what)
            if what not in self._reported:
                log.warning("artifact=%s refused reason=%s", each.folder, each.error)
                note("artifact_refused", {"folder": each.folder, "reason": str(each.error)})
        for region, entry in roster.items():
            if entry.folder not in self._reported:
                fault = load_artifact(entry.folder).network_fault
                log.info("region=%s artifact=%s in force", region, entry.version)
                details = {"region": region, "version": entry.version, "spec": entry.fingerprint}
                note("artifact_in_force", {**details, "folder": entry.folder, "network_fault": fault})
                if fault:
                    log.warning("region=%s artifact=%s scores by its baseline only: %s", region, entry.version, fault)
        self._reported = frozenset(reported)

    def _note_absence(self, reason: str) -> None:
        """Log once when artifacts that a start needs are away, and once when they are back. reason: "" if they are."""
        if reason and not self._is_away:
            log.warning("%s; this job continues with the artifacts in memory, but the next start would fail", reason)
        if self._is_away and not reason:
            log.info("artifacts=%s is there again", self.settings.artifacts.absolute())
        self._is_away = bool(reason)


def _written(path: Path) -> int:
    """When the file was put there, in nanoseconds; 0 for none."""
    try:
        return path.lstat().st_ctime_ns
    except OSError:
        return 0

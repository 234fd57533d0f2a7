"""The small files that one process leaves for others.

<artifacts>/<region>/pointer.json   which version scores, and which is tried beside it: `promote` writes it
<registry>/<region>/state.json      versions and their roles, of a registry that is a folder
<checkpoint>/roster.json            region -> the artifact in force: the job writes it, all read it
<checkpoint>/health.json            how the running job is: written every second
<checkpoint>/watch.json             how the watch beside the job goes
<frames>/withheld.json              while scores are withheld
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from schemas.errors import ArtifactError, CheckpointError, RiskError, SettingsError
from schemas.files import instant_text, read_json, read_small_json, replace_file, write_errors
from schemas.limits import MAX_TIME_S

Version = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}\Z")]
POINTER = "pointer.json"


class Pointer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Versions of one region by their role.

    >>> Pointer(champion="20261101T040000Z-1a2b3c4d").challenger is None
    True
    """

    champion: Version
    challenger: Version | None = None


def pointer_path(artifacts: Path, region: str) -> Path:
    return artifacts / region / POINTER


def read_pointer(artifacts: Path, region: str) -> Pointer | None:
    """The region's pointer; None when it has none. Raises ArtifactError when it cannot be used."""
    remedy = "run `risk promote REGION`, which writes it again"
    return read_small_json(pointer_path(artifacts, region), Pointer, remedy=remedy)


def write_pointer(artifacts: Path, region: str, pointer: Pointer) -> None:
    """Put the pointer in place in one step. Raises ArtifactError."""
    path = pointer_path(artifacts, region)
    with write_errors(ArtifactError, path):
        replace_file(path, msgspec.json.encode(pointer) + b"\n")


STATE = "state.json"
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]


class RegionState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A region's versions and their roles. Equal states change nothing."""

    manifests: dict[Version, Sha256] = {}  # of each registered version, the sha256 of its manifest
    champion: Version | None = None
    challenger: Version | None = None
    before: tuple[Version, ...] = ()  # earlier champions, the last one newest
    retired: tuple[Version, ...] = ()

    def __post_init__(self) -> None:
        """Raises ValueError, which a decoder turns into its own error, for a role of a version that is not there."""
        for role in ("champion", "challenger"):
            version = getattr(self, role)
            if version is not None and version not in self.manifests:
                raise ValueError(f"the {role} {version} is not among the registered versions")

    def role_of(self, version: str) -> str:
        """`champion`, `challenger`, `retired` or nothing."""
        if version in self.retired:
            return "retired"
        return "champion" if version == self.champion else "challenger" if version == self.challenger else ""


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One region's artifact in force, and the folder of the challenger that is scored beside it, or nothing."""

    folder: str
    version: str
    fingerprint: str
    challenger: str = ""


def roster_path(checkpoint: Path) -> Path:
    return checkpoint.absolute() / "roster.json"


def read_roster(path: Path) -> dict[str, Entry]:
    """Empty before the first was published. Raises ArtifactError when it cannot be read."""
    return read_json(path, dict[str, Entry], ArtifactError, remedy="restore it, or start with a new checkpoint") or {}


def write_roster(path: Path, roster: Mapping[str, Entry]) -> None:
    """Raises SettingsError."""
    with write_errors(SettingsError, f"RISK_CHECKPOINT={path.parent}"):
        replace_file(path, msgspec.json.format(msgspec.json.encode(roster, order="sorted")))


Phase = Literal["running", "stopped", "failed"]


class StoredBatch(msgspec.Struct, frozen=True):
    """The newest batch. stored_at: when the store last took points, or answered that it would."""

    id: int
    stored_at: datetime


class RegionHealth(msgspec.Struct, frozen=True, kw_only=True):
    as_of: datetime
    age_s: float  # when the file was written
    baseline_only: str = ""  # `baseline:` and why, while the scores are without the network
    unfollowed: str = ""  # why the scores do not follow what the last weeks showed, where there is something to follow


class JobHealth(msgspec.Struct, frozen=True, kw_only=True):
    """The file's content. reason: why the job is not ready; empty when it is."""

    ready: bool = False
    reason: str = ""
    phase: Phase = "running"
    process: int
    started_at: datetime
    written_at: datetime
    clock: Literal["wall", "event"]
    trigger_s: float
    last_batch: StoredBatch | None = None
    regions: dict[str, RegionHealth] = {}
    ledger_balanced: bool = True
    unbalanced: list[str] = []  # regions; also `_unassigned`, for messages of no region
    unaccounted: int = 0  # messages by Kafka's offsets less those in the ledger, since the start
    kafka_away: bool = False
    store_trouble: str = ""  # while a write is tried again
    lag_events: float = 0.0
    withheld: str = ""  # why nobody may see the scores
    error: str = ""
    exit_code: int | None = None


def health_path(checkpoint: Path) -> Path:
    return checkpoint / "health.json"


LONGEST_SILENCE_S = 300  # the watch writes it every minute
START_IT = "start `risk watch` beside the job"


class WatchedPart(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the watch: `judge`, `archive` or `retrain`. Times: epoch seconds."""

    ended_s: int = 0  # when a run last came to its end without a fault; 0: none yet
    failing_s: int = 0  # since when its runs fail; 0: the newest one did not
    fault: str = ""  # of the newest run, with its remedy, in one line


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """at_s: when the watch last was alive, epoch seconds. parts: by their names."""

    at_s: int
    parts: dict[str, WatchedPart]

    @property
    def well_s(self) -> int:
        """Until when the watch was alive and none of its parts failed."""
        return min([self.at_s, *(part.failing_s for part in self.parts.values() if part.failing_s)])

    def faults(self, now_s: float) -> list[str]:
        """Why the watch is not well, each with its remedy; none when it is."""
        faults = [
            f"{name} fails since {instant_text(part.failing_s)}: {part.fault}"
            for name, part in self.parts.items()
            if part.failing_s
        ]
        if abs(now_s - self.at_s) > LONGEST_SILENCE_S:
            faults.insert(0, f"nothing is watched since {instant_text(self.at_s)}: {START_IT}")
        return faults


def heartbeat_path(checkpoint: Path) -> Path:
    return checkpoint / "watch.json"


def read_heartbeat(checkpoint: Path) -> Heartbeat | None:
    """None where no watch ever ran. Raises CheckpointError when it cannot be read."""
    return read_json(heartbeat_path(checkpoint), Heartbeat, CheckpointError, remedy="delete it: the watch writes it")


def write_heartbeat(checkpoint: Path, heartbeat: Heartbeat) -> None:
    """Raises CheckpointError."""
    path = heartbeat_path(checkpoint)
    with write_errors(CheckpointError, path, remedy="free disk space"):
        replace_file(path, msgspec.json.format(msgspec.json.encode(heartbeat)) + b"\n", outlives_power_cut=False)


def watched_until_s(checkpoint: Path) -> int | None:
    """`Heartbeat.well_s`; None where no watch ever ran, 0 where the file cannot be read: `health` says why."""
    try:
        heartbeat = read_heartbeat(checkpoint)
    except RiskError:
        return 0
    return heartbeat.well_s if heartbeat else None


LONGEST = 200  # characters of a reason


class Withheld(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    since_s: Annotated[int, msgspec.Meta(ge=0, le=MAX_TIME_S)]
    because: Annotated[str, msgspec.Meta(max_length=LONGEST)]

    def in_words(self) -> str:
        return f"scores are withheld since {datetime.fromtimestamp(self.since_s, UTC):%Y-%m-%d %H:%MZ}: {self.because}"


def withheld_path(frames: Path) -> Path:
    return frames / "withheld.json"


def read_withheld(frames: Path) -> Withheld | None:
    """None while scores are shown. A file that cannot be read withholds them: showing them would be the worse error."""
    path = withheld_path(frames)
    try:
        return msgspec.json.decode(path.read_bytes(), type=Withheld)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        fault = f"{path.name} cannot be read ({error}): `withhold --end` removes it"
        return Withheld(since_s=0, because=fault[:LONGEST])

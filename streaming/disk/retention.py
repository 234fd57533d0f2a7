"""What is stored, for how long, why, and who may read it: one table, from which `retention` and its page are made."""

import os
import shutil
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from schemas.errors import RegistryError
from schemas.files import exclusive, read_json, replace_file
from schemas.left_behind.batch_log import KEEP_DAYS
from schemas.left_behind.region_state import STATE, RegionState
from schemas.spec import DAY_S, DAYS_KEPT
from streaming.disk.spark_folder import SparkFolder

ASIDE = ".aside"  # ends the name of an audit log that was set aside
OURS = "retention"  # what it ends; the rest it only shows
_SPARE_DAYS = 35  # of what only explains, or helps after a loss
_VERSIONS = "*/????????T??????Z-????????"
_LEFT = "the job deletes its own sooner; this ends what retired regions and versions left"


class Kept(NamedTuple):
    """A kind of stored thing. place: a setting; where that is a folder, also the pattern of its items, NAME/PATTERN."""

    what: str
    place: str
    days: int  # since an item was last written; 0: `why` says it
    why: str
    readers: str = "the job's user"
    ended_by: str = OURS

    @property
    def setting(self) -> str:
        return self.place.partition("/")[0]


SET_ASIDE = Kept("counts that a reset set aside", "RISK_CHECKPOINT/old-*", KEEP_DAYS,
                 "a reset by mistake can be taken back by hand")  # fmt: skip
BACK_UPS = Kept("back-ups of all of it, with secrets", "--back-ups", _SPARE_DAYS,
                "older ones bring back what has ended elsewhere", "root")  # fmt: skip
ARTIFACTS = Kept("artifacts, each with such counts and ids", f"RISK_ARTIFACTS/{_VERSIONS}", DAYS_KEPT,
                 "what a score was made of can be looked up; what scores or is tried stays",
                 "the job, the judge")  # fmt: skip
REGISTRY = Kept("versions in the registry, with the same", f"RISK_REGISTRY/{_VERSIONS}", DAYS_KEPT,
                "the way back; champion, challenger and the champion before stay", "who promotes, the job")  # fmt: skip
AUDIT = Kept("audit log: settings, versions, who decided", "RISK_AUDIT", DAYS_KEPT, "the AI Act asks for six months of "
             "logs; set aside whole while no job runs, deleted after as long again",
             "the job's user; decisions: also a token that may see the record")  # fmt: skip
TABLE = (
    Kept("events, with places", "RISK_TOPIC", 0, "a new checkpoint reads them again; seven days as shipped",
         "user `scorer`", "Kafka"),
    Kept("refused messages, with their bytes", "RISK_DEAD_LETTER_TOPIC", 0, "a producer corrects and sends again; "
         "seven days as shipped", "user `dlq-reader`", "Kafka"),
    Kept("marks of shifts", "RISK_FEEDBACK_TOPIC", 0, "a store that was away takes them later; 30 days as "
         "shipped", "user `feedback`", "Kafka"),
    Kept("counts by cell; for days hashed ids, and places where calls merge", "RISK_CHECKPOINT/spark", DAYS_KEPT,
         "a year and its weeks are weighed; an id until its incident can no longer be corrected", ended_by="the job"),
    Kept("log of batches, and such counts of each day", "RISK_CHECKPOINT/batches/????-??-??", KEEP_DAYS,
         "the archive takes its days from there, also after it stood still", ended_by="the job"),
    Kept("what Spark shuffles: events with places, refused payloads", "TMPDIR/incident-risk-*", 0, "mode 0700; every "
         "end and start of the job empties it, also after a kill", ended_by="the job"),
    Kept("Spark's log, without places and payloads", "RISK_CHECKPOINT/spark.log", _SPARE_DAYS, "explains a failure; "
         "stays while a job runs"),
    SET_ASIDE,
    Kept("forecasts until they are judged", "RISK_CHECKPOINT/outcomes/*/*.npz", 14, _LEFT),
    Kept("the same of trials, and their counts", "RISK_CHECKPOINT/shadow/*/*/*", 14, _LEFT),
    Kept("judged hours of trials", "RISK_CHECKPOINT/shadow/*.jsonl", 90, _LEFT),
    Kept("what followers learned", "RISK_CHECKPOINT/following/*/*", 60, _LEFT),
    Kept("last scores of each region", "RISK_FRAMES/*.frame", _SPARE_DAYS, "replaced every minute; this ends those of "
         "retired regions", "the service"),
    ARTIFACTS, REGISTRY, AUDIT, BACK_UPS,
    Kept("final counts by cell and five minutes", "RISK_ARCHIVE", 0, "the next model learns from them; five years by "
         "`archive --keep-days 1826`, as shipped", "who trains", "`lifecycle archive`"),
    Kept("scores, outcomes and marks in the store", "INFLUXDB_V2_BUCKET", 0, "30 days, and 400 as hours in "
         "`risk_long`, as shipped; the job's token may not ask: `influx bucket list`", "Grafana's viewers", "InfluxDB"),
    Kept("scores in a file, without RISK_SINK", "RISK_SINK", 0, "no end, for a first look: set `RISK_SINK=influxdb`",
         ended_by="you"),
    Kept("logs, without places and payloads", "the supervisor", 0, "50 MB of each program in compose.yaml", "root",
         "your supervisor"),
)  # fmt: skip


@dataclass(frozen=True, slots=True, order=True)
class StoredItem:
    """A file or a folder with all that is in it."""

    days: float  # since any of it was last written
    size: int  # bytes
    path: Path


def items_in(folder: Path, pattern: str, now_s: float) -> list[StoredItem]:
    """What the pattern finds, the oldest first, without links. pattern: empty for the folder itself."""
    paths = folder.glob(pattern) if pattern else iter([folder])
    return sorted((_item(path, now_s) for path in paths if path.exists() and not path.is_symlink()), reverse=True)


def _item(path: Path, now_s: float) -> StoredItem:
    newest_s, size = 0.0, 0
    for folder, _, files in os.walk(path) if path.is_dir() else [(str(path.parent), [], [path.name])]:
        for name in files:
            with suppress(FileNotFoundError):  # a running job replaces files
                stat = (Path(folder) / name).lstat()
                newest_s, size = max(newest_s, stat.st_mtime), size + stat.st_size
    return StoredItem((now_s - (newest_s or path.lstat().st_mtime)) / DAY_S, size, path)


def over(kept: Kept, items: Collection[StoredItem], used: Collection[Path]) -> list[StoredItem]:
    """The items whose time is over, but for those that are in use, or hold what is."""
    due = [item for item in items if kept.ended_by == OURS and item.days > kept.days]
    places = [path.resolve() for path in used] if due else []
    return [item for item in due if not any(place.is_relative_to(item.path.resolve()) for place in places)]


def aside_path(log: Path, now_s: float) -> Path:
    """Where an audit log goes that is set aside."""
    return log.with_name(f"{log.name}.{datetime.fromtimestamp(now_s, UTC):%Y%m%dT%H%M%SZ}{ASIDE}")


def delete(kept: Kept, item: StoredItem) -> None:
    """Of a version first its place in the registry's state and its page, of counts those elsewhere.

    Raises OSError, RiskError.
    """
    if kept is SET_ASIDE:
        elsewhere = SparkFolder.of(item.path)
        for info in elsewhere.listed(deep=True):
            elsewhere.delete(info)
    if kept is not REGISTRY or _has_left(item.path):
        if kept is REGISTRY:  # first: after a kill the version is still found
            shutil.rmtree(item.path.with_name(f"{item.path.name}.evaluation"), ignore_errors=True)
        shutil.rmtree(item.path) if item.path.is_dir() else item.path.unlink(missing_ok=True)


def _has_left(version: Path) -> bool:
    """Take a version out of its region's state, unless it has a role by now."""
    with exclusive(version.parent / ".lock"):
        state, name = region_state(version.parent), version.name
        if name in (state.champion, state.challenger):
            return False
        before, retired = (tuple(each for each in of if each != name) for of in (state.before, state.retired))
        manifests = {each: digest for each, digest in state.manifests.items() if each != name}
        after = msgspec.structs.replace(state, manifests=manifests, before=before, retired=retired)
        replace_file(version.parent / STATE, msgspec.json.format(msgspec.json.encode(after), indent=1))
    return True


def region_state(home: Path) -> RegionState:
    """Of a registry's region. Raises RegistryError."""
    return read_json(home / STATE, RegionState, RegistryError, remedy="restore it from a copy") or RegionState()

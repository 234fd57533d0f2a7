"""What reaches Spark's Python workers, on this machine or on others, and what each of them does beside its work.

The roster and its artifacts are files of Spark's session. Spark copies a session's new files to an executor before the
executor's next task. A roster's file has a number, and the highest is in force; an artifact's is named by its region
and version. No file ever changes.
"""

import gc
import logging
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from hashlib import blake2b
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import msgspec

from schemas.errors import ArtifactsAway, SparkFailed
from schemas.files import replace_file
from schemas.records import Entry

if TYPE_CHECKING:
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Shipment:
    """Sends what the workers of a session have not got yet. Spark takes the files from `folder`: they stay there."""

    context: "SparkContext"
    folder: Path
    _newest: Mapping[str, Entry] | None = None

    @classmethod
    def of(cls, context: "SparkContext") -> "Shipment":
        """A shipment from a folder that Spark deletes when the session ends."""
        from pyspark import SparkFiles

        return cls(context, Path(SparkFiles.getRootDirectory()).with_name("shipped"))

    def send(self, roster: Mapping[str, Entry]) -> None:
        """Raises ArtifactsAway when a folder that was not sent yet cannot be read."""
        if roster == self._newest:
            return
        number = sum(1 for _ in self.folder.glob("roster-*.json"))
        files: dict[str, Callable[[], bytes]] = {
            _file_name(folder): partial(_zipped, Path(folder)) for folder in sorted(_folders(roster))
        }
        files[f"roster-{number:08d}.json"] = partial(msgspec.json.encode, roster)
        for name, content in files.items():
            path = self.folder / name
            if not path.exists():
                replace_file(path, content(), outlives_power_cut=False)
                self.context.addFile(str(path))
        self._newest = dict(roster)


def shipped_roster() -> dict[str, Entry]:
    """In a worker, the newest roster whose artifacts have all arrived. Raises SparkFailed without one."""
    from pyspark import SparkFiles

    root = Path(SparkFiles.getRootDirectory())
    for path in sorted(root.glob("roster-*.json"), reverse=True):
        roster = msgspec.json.decode(path.read_bytes(), type=dict[str, Entry])
        if all((root / _file_name(folder)).exists() for folder in _folders(roster)):
            return roster
    raise SparkFailed(f"Spark brought no roster to {root}", remedy="start again; if it happens again, see Spark's log")


def on_this_worker(folder: str) -> str:
    """Where a worker finds the artifact that the driver has in `folder`; outside of Spark's workers, there.

    Raises OSError when it was not sent, or cannot be unpacked.
    """
    from pyspark import SparkFiles  # in a worker only: a recount scores without Spark

    if not SparkFiles._is_running_on_worker:
        return folder
    root, source = Path(SparkFiles.getRootDirectory()), Path(folder)
    home = root / "artifacts" / source.parent.name / source.name
    if not home.exists():
        home.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=root) as name, zipfile.ZipFile(root / _file_name(folder)) as file:
            file.extractall(name)
            try:
                Path(name, source.name).rename(home)
            except OSError:  # another worker of this executor was first
                if not home.exists():
                    raise
    return str(home)


@cache
def settle_worker() -> None:
    """Exempt what is loaded by now from garbage collection, once per process.

    Spark's workers collect in full after every task. With torch or pandas loaded that takes 40 to 120 ms, for
    hundreds of thousands of objects that live as long as the process: more than our own work in a small batch.
    """
    gc.collect()
    gc.freeze()


@lru_cache(maxsize=64)
def say_left_out(folder: str, reason: str) -> None:
    """Say why a challenger has no scores, on the job's error output. It fails with each batch, and is said once."""
    log.warning("challenger=%s is left out reason=%s", folder, reason)


@contextmanager
def workers_of_their_own(session: "SparkSession", stage: str) -> Iterator[None]:
    """Functions given to Spark inside run in Python workers that no other stage uses.

    Spark pools its workers by their environment and hands them out in turn. One pool for all would spread every
    region's live counts and every network over all workers, and each would lag behind most of the time.
    """
    environment = session.sparkContext.environment
    environment["RISK_STAGE"] = stage
    try:
        yield
    finally:
        del environment["RISK_STAGE"]


def _folders(roster: Mapping[str, Entry]) -> set[str]:
    return {folder for entry in roster.values() for folder in (entry.folder, entry.challenger) if folder}


def _file_name(folder: str) -> str:
    return f"artifact-{blake2b(folder.encode(), digest_size=16).hexdigest()}.zip"


def _zipped(folder: Path) -> bytes:
    content = BytesIO()
    try:
        with zipfile.ZipFile(content, "w") as file:
            for each in sorted(folder.iterdir()):
                if each.is_file():
                    file.write(each, Path(folder.name, each.name))
    except OSError as error:
        raise ArtifactsAway(f"{folder} cannot be read ({error.strerror})", remedy="restore it") from error
    return content.getvalue()

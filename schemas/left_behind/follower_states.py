"""What a region's follower had learned before an hour: files that never change, and what it says of a change.

    <checkpoint>/following/<region>/<version>/<hour>.npz    hour: the first one it is for, epoch seconds
    <checkpoint>/following/<region>/<version>/change.json   replaced every hour

The judge writes them from counts that are final. A forecast uses the newest file of its version that is not for a later
hour. Who judges a forecast later finds the same file again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import numpy.typing as npt

from schemas.arrays import pack_arrays, unpack_arrays
from schemas.errors import ArtifactError, CheckpointError
from schemas.files import read_json, read_regular_file, replace_file, write_errors
from schemas.left_behind.batch_log import logged_days
from schemas.limits import MAX_HISTORY_BYTES
from schemas.spec import DAY_S, HOUR_S

OLDEST_S = 3 * DAY_S  # what was learned so long ago is followed no more: whoever teaches stands still
_CHANGE = "change.json"
Arrays = Mapping[str, npt.NDArray[Any]]


class FollowedChange(msgspec.Struct, frozen=True):
    """A change that forecasts follow, by the newest file of its version. says: as `05 to 08 h x 1.9`, local hours."""

    hour_s: int  # of that file
    since_s: int
    says: str

    def in_words(self, timezone: str) -> str:
        """As `since 3 Mar: 05 to 08 h x 1.9`."""
        since = datetime.fromtimestamp(self.since_s, ZoneInfo(timezone))
        return f"since {since.day} {since:%b}: {self.says}"


@dataclass(frozen=True, slots=True)
class FollowerStates:
    """The files of one version in one region."""

    folder: Path

    @classmethod
    def of(cls, checkpoint: Path, region: str, version: str) -> "FollowerStates":
        return cls(checkpoint / "following" / region / version)

    def newest(self, hour_s: int) -> Path | None:
        """The newest file that is not for an hour after `hour_s`."""
        hours = {int(path.stem): path for path in self.folder.glob("*.npz") if path.stem.isdigit()}
        return hours.get(max((each for each in hours if each <= hour_s), default=-1))

    def for_forecast(self, tick_s: int) -> Path | None:
        """The file that a forecast at `tick_s` follows: the newest one that is not for a later hour, nor too old."""
        if not self.folder.exists():
            return None
        hours = range(tick_s // HOUR_S * HOUR_S, tick_s - OLDEST_S - 1, -HOUR_S)
        return next((path for path in map(self.path, hours) if path.exists()), None)

    def write(self, hour_s: int, arrays: Arrays) -> None:
        """Write the file of an hour, and delete those that no recount of the log of batches needs.

        Raises CheckpointError.
        """
        logged = logged_days(self.folder.parents[2])  # by number: they may reach further back than KEEP_DAYS
        oldest_s = int(datetime.fromisoformat(f"{logged[0]}T00:00Z").timestamp()) - DAY_S if logged else 0
        with write_errors(CheckpointError, self.folder, remedy="free disk space"):
            replace_file(self.path(hour_s), pack_arrays(arrays))
            needed = self.newest(oldest_s)
            for path in self.folder.glob("*.npz"):
                if path.stem.isdigit() and int(path.stem) < oldest_s and path != needed:
                    path.unlink()

    def say(self, change: FollowedChange | None) -> None:
        """Replace what is said of a change. Raises CheckpointError."""
        with write_errors(CheckpointError, self.folder, remedy="free disk space"):
            if change is None:
                (self.folder / _CHANGE).unlink(missing_ok=True)
            else:
                replace_file(self.folder / _CHANGE, msgspec.json.encode(change))

    def change(self, tick_s: int) -> FollowedChange | None:
        """The change that forecasts follow at a tick. Raises CheckpointError."""
        said = read_json(self.folder / _CHANGE, FollowedChange, CheckpointError, remedy="delete it: the next one comes")
        return said if said and said.hour_s - HOUR_S <= tick_s <= said.hour_s + OLDEST_S else None

    def path(self, hour_s: int) -> Path:
        return self.folder / f"{hour_s}.npz"


def read_follower_state(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a file. Raises CheckpointError."""
    try:
        return unpack_arrays(read_regular_file(path, MAX_HISTORY_BYTES), path, MAX_HISTORY_BYTES)
    except ArtifactError as error:
        raise CheckpointError(f"{path} is damaged ({error})", "delete the folder: following begins anew") from error

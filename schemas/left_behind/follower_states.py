"""What a region's follower had learned before an hour: files that never change.

    <checkpoint>/following/<region>/<version>/<hour>.npz    hour: the first one it is for, epoch seconds

The judge writes them from counts that are final. A forecast uses the newest file of its version that is not for a later
hour. Who judges a forecast later finds the same file again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy.typing as npt

from schemas.arrays import pack_arrays, unpack_arrays
from schemas.errors import ArtifactError, CheckpointError
from schemas.files import read_regular_file, replace_file, write_errors
from schemas.left_behind.batch_log import KEEP_DAYS
from schemas.limits import MAX_HISTORY_BYTES
from schemas.spec import DAY_S

OLDEST_S = 3 * DAY_S  # what was learned so long ago is followed no more: whoever teaches stands still
Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class FollowerStates:
    """The files of one version in one region."""

    folder: Path

    @classmethod
    def of(cls, checkpoint: Path, region: str, version: str) -> "FollowerStates":
        return cls(checkpoint / "following" / region / version)

    def newest(self, tick_s: int) -> Path | None:
        """The file for a forecast that is made at `tick_s`; None where nothing had been learned by then."""
        return newest_for(self.folder.glob("*.npz"), tick_s)

    def has(self, hour_s: int) -> bool:
        return self.path(hour_s).exists()

    def write(self, hour_s: int, arrays: Arrays) -> None:
        """Write the file of an hour, and delete those that no recount of the log of batches needs.

        Raises CheckpointError.
        """
        oldest_s = hour_s - (KEEP_DAYS + 1) * DAY_S
        with write_errors(CheckpointError, self.folder, remedy="free disk space"):
            replace_file(self.path(hour_s), pack_arrays(arrays))
            needed = self.newest(oldest_s)
            for path in self.folder.glob("*.npz"):
                if path.stem.isdigit() and int(path.stem) < oldest_s and path != needed:
                    path.unlink()

    def path(self, hour_s: int) -> Path:
        return self.folder / f"{hour_s}.npz"


def newest_for(files: Iterable[Path], tick_s: int) -> Path | None:
    """The newest of a version's files that is not for an hour after `tick_s`."""
    hours = {int(path.stem): path for path in files if path.stem.isdigit()}
    return hours.get(max((hour_s for hour_s in hours if hour_s <= tick_s), default=-1))


def read_follower_state(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a file. Raises CheckpointError."""
    try:
        return unpack_arrays(read_regular_file(path, MAX_HISTORY_BYTES), path, MAX_HISTORY_BYTES)
    except ArtifactError as error:
        raise CheckpointError(f"{path} is damaged ({error})", "delete the folder: following begins anew") from error

"""What a forecast follows: the factors of what the last weeks showed, from a file that never changes."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.follower_state import FollowerState
from models.following import Follower
from schemas.left_behind.follower_states import OLDEST_S, newest_for, read_follower_state
from streaming.roster.roster import load_artifact


@lru_cache(maxsize=1024)
def _follower(folder: str) -> Follower:
    artifact = load_artifact(folder)
    return Follower.of(artifact.spec, artifact.constants)


@lru_cache(maxsize=1024)
def _state(path: str, folder: str) -> FollowerState:
    return FollowerState.checked(read_follower_state(Path(path)), load_artifact(folder).spec)


def file_at(files: str, tick_s: int) -> str | None:
    """Which of a version's files, a line each, a forecast at a tick follows; None where it follows none."""
    path = newest_for(map(Path, files.splitlines()), tick_s)
    return None if path is None or tick_s - int(path.stem) > OLDEST_S else str(path)


def factors_at(path: str, folder: str, tick_s: int) -> npt.NDArray[np.float32]:
    """(cells, categories, horizons) factors on the forecast of the artifact in `folder` at a tick.

    path: the file. Raises CheckpointError and DataError when it cannot be used.
    """
    return _follower(folder).factors(_state(path, folder), tick_s).shown().astype(np.float32)

"""What a forecast follows: the factors of what the last weeks showed, from a file that never changes."""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.follower_state import FollowerState
from models.following import Follower
from schemas.errors import RiskError
from schemas.left_behind.follower_states import FollowerStates, read_follower_state
from streaming.roster.roster import load_artifact


class Followed(NamedTuple):
    """What a forecast follows. Where the file cannot be used the network scores alone, and `fault` says why."""

    factors: npt.NDArray[np.float32] | None = None  # (cells, categories, horizons)
    hour: str = ""  # of the file
    fault: str = ""


@lru_cache(maxsize=1024)
def _follower(folder: str) -> Follower:
    artifact = load_artifact(folder)
    return Follower.of(artifact.spec, artifact.constants)


@lru_cache(maxsize=1024)
def _state(path: Path, folder: str) -> FollowerState:
    return FollowerState.checked(read_follower_state(path), load_artifact(folder).spec)


def followed(states: FollowerStates, folder: str, tick_s: int) -> Followed:
    """What the forecast of the artifact in `folder` follows at a tick."""
    path = states.for_forecast(tick_s)
    if path is not None:
        return followed_from(path, folder, tick_s)
    oldest = states.newest(tick_s)
    return (
        Followed(fault=f"the newest file, {oldest}, is older than three days: is `judge` running?")
        if oldest
        else Followed()
    )


def followed_from(path: Path, folder: str, tick_s: int) -> Followed:
    """What the forecast of the artifact in `folder` follows at a tick, by a file that is known."""
    try:
        factors = _follower(folder).factors(_state(path, folder), tick_s).shown().astype(np.float32)
        return Followed(factors, path.stem)
    except RiskError as error:
        return Followed(fault=f"{path}: {error}")

"""What a forecast follows: the factors of what the last weeks showed, from a file that never changes."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.following.factors import RegionFactors
from models.following.state import FollowerState
from models.unusual.windows import spans_of
from schemas.errors import CheckpointError, RiskError
from schemas.frame import RiskFrame
from schemas.left_behind.follower_states import FollowedChange, FollowerStates, read_follower_state
from streaming.roster.artifact_cache import ArtifactCache
from streaming.roster.roster import load_artifact

log = logging.getLogger(__name__)


class Followed(NamedTuple):
    """What a forecast follows. Where the file cannot be used the network scores alone, and `fault` says why."""

    factors: npt.NDArray[np.float32] | None = None  # (cells, categories, horizons)
    before: npt.NDArray[np.float64] | None = None  # (cells, categories, windows) on what was usual in the last hours
    hour: str = ""  # of the file
    fault: str = ""


@dataclass(slots=True)
class _Newest:
    """What was read and worked out last for an artifact: the file serves an hour, the factors all batches of a tick."""

    of_region: RegionFactors
    path: Path | None = None
    tick_s: int = -1
    state: FollowerState | None = None
    factors: npt.NDArray[np.float32] | None = None
    before: npt.NDArray[np.float64] | None = None

    def at(self, path: Path, tick_s: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float64]]:
        if self.state is None or path != self.path:
            self.state = FollowerState.checked(read_follower_state(path), self.of_region.spec)
            self.path, self.factors = path, None
        if self.factors is None or self.before is None or tick_s != self.tick_s:
            self.factors = self.of_region.at(self.state, tick_s).shown().astype(np.float32)
            self.before = self.of_region.over_spans(self.state, spans_of(self.of_region.spec, tick_s))
            self.factors.flags.writeable = self.before.flags.writeable = False
            self.tick_s = tick_s
        return self.factors, self.before


@ArtifactCache
def _newest_of(folder: str) -> _Newest:
    artifact = load_artifact(folder)
    return _Newest(RegionFactors.of(artifact.spec, artifact.constants))


def follow(states: FollowerStates, folder: str, tick_s: int) -> Followed:
    """What the forecast of the artifact in `folder` follows at a tick."""
    try:
        if path := states.for_forecast(tick_s):
            return followed_from(path, folder, tick_s)
        oldest = states.newest(tick_s)
    except OSError as error:
        return Followed(fault=f"{states.folder} cannot be read ({error.strerror})")
    old = f"the newest file, {oldest}, is older than three days: `judge` stands still, or another version scored"
    return Followed(fault=old) if oldest else Followed()


def change_followed(follow_in: Path | None, frame: RiskFrame) -> FollowedChange | None:
    """What there is to say of a change that a frame follows; without it the scores are as good."""
    if follow_in is None:
        return None
    try:
        return FollowerStates.of(follow_in, frame.spec.region, frame.model).change(frame.tick_s)
    except CheckpointError as error:
        log.warning("region=%s what its forecasts follow is not said: %s", frame.spec.region, error)
        return None


def followed_from(path: Path, folder: str, tick_s: int) -> Followed:
    """What the forecast of the artifact in `folder` follows at a tick, by a file that is known."""
    try:
        return Followed(*_newest_of(folder).at(path, tick_s), path.stem)
    except (RiskError, OSError) as error:
        return Followed(fault=f"{path}: {error}")

"""Stage 3, on the workers: features of a whole grid -> scores, with torch, on the GPU that the task was given.

A forecast follows what the last weeks showed: factors from a file that never changes.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from models.artifact import Artifact
from models.following import FollowerState, RegionFactors
from models.nowcast import LastHours
from models.scoring import CellScores, score
from models.unusual import WINDOWS_S, RegionScan, spans_of
from schemas.errors import RiskError
from schemas.forecasts import FollowerStates, read_follower_state
from schemas.frame import BASELINE_MODEL
from schemas.spec import HOUR_S
from streaming.artifacts_in_force import ArtifactCache, load_artifact
from streaming.flow.rows import FIELDS, ScoreColumns
from streaming.flow.workers import on_this_worker, say_left_out, settle_worker

if TYPE_CHECKING:
    from models.network import RiskNetwork


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


def followed_from(path: Path, folder: str, tick_s: int) -> Followed:
    """What the forecast of the artifact in `folder` follows at a tick, by a file that is known."""
    try:
        return Followed(*_newest_of(folder).at(path, tick_s), path.stem)
    except (RiskError, OSError) as error:
        return Followed(fault=f"{path}: {error}")


@cache
def networks(device: str) -> "ArtifactCache[RiskNetwork | None]":
    """A cache that gives an artifact's network on that device by the artifact's folder."""

    def read(folder: str) -> "RiskNetwork | None":
        network = load_artifact(folder).network()
        return None if network is None else network.to(device)

    return ArtifactCache(read)


def task_device() -> str:
    """The device of this task: the GPU address that Spark assigned to it, else the CPU."""
    import torch
    from pyspark import TaskContext  # in a worker only: tests score without Spark

    context = TaskContext.get()
    gpus = context.resources().get("gpu") if context else None
    return f"cuda:{gpus.addresses[0]}" if gpus and torch.cuda.is_available() else "cpu"


def score_features(
    artifact: Artifact,
    network_of: "Callable[[], RiskNetwork | None]",
    features: bytes,
    following: npt.NDArray[np.float32] | None = None,
    lately: LastHours | None = None,
) -> tuple[str, CellScores]:
    """Scores of one region, and what made them: the artifact's version, or the baseline and why.

    network_of: gives the network on its device, None when it cannot be used; may fail as the network itself may.
    following: (cells, categories, horizons) factors on what the network expects. lately: of the region's last hours.
    """
    spec = artifact.spec
    shape = (spec.grid.cells, len(spec.categories), len(spec.features))
    values = np.frombuffer(features, "<f4").reshape(shape)
    try:
        network = network_of()
        if network is None:
            fault = "network unusable"
        else:
            return artifact.version, score(values, network, artifact.constants, spec, following, lately)
    except (FloatingPointError, RuntimeError) as error:  # torch reports a lost or full GPU as RuntimeError
        fault = type(error).__name__
    return f"{BASELINE_MODEL}:{fault}", score(values, None, artifact.constants, spec, lately=lately)


@lru_cache(maxsize=32)
def scan_of(folder: str) -> RegionScan:
    """The scan of an artifact's region, which batches of a worker share: 3 MB of 48 x 48 cells and four categories."""
    artifact = load_artifact(folder)
    return RegionScan(artifact.spec, artifact.constants)


Columns = tuple[pd.Series, pd.Series, pd.Series, pd.Series, pd.Series, pd.Series]
Stage = Callable[[Iterator[Columns]], Iterator[pd.DataFrame]]


def score_stage(follow_in: Path | None) -> Stage:
    """The function for `pandas_udf`, -> `ScoreColumns`.

    It takes the artifact's folder, features, whether they are a challenger's, the tick, counts of the last hours in
    each cell, and what a nowcast looks at.

    follow_in: the checkpoint with what followers have learned; None where nothing is followed.
    """

    def stage(batches: Iterator[Columns]) -> Iterator[pd.DataFrame]:
        import torch  # in a worker only: the driver, which builds the plan, does without its 280 MiB

        settle_worker()
        torch.set_num_threads(1)  # one task, one core: Spark runs as many tasks as there are cores
        network_of = networks(task_device())
        for columns in batches:
            rows = []
            for folder, features, is_challenger, *rest in zip(*columns, strict=True):
                try:
                    scores = ScoreColumns()
                    if features is not None:
                        scores = _scores(follow_in, network_of, folder, features, *rest)
                    rows.append(scores)
                except Exception as error:  # what is tried ends nothing that scores
                    if not is_challenger:
                        raise
                    say_left_out(folder, repr(error))
                    rows.append(ScoreColumns())
            yield pd.DataFrame(rows, columns=ScoreColumns._fields)

    return stage


def _scores(
    follow_in: Path | None,
    network_of: "ArtifactCache[RiskNetwork | None]",
    folder_of_driver: str,
    packed: bytes,
    tick_s: int,
    recent: bytes | None,
    lately: bytes | None,
) -> ScoreColumns:
    folder = on_this_worker(folder_of_driver)
    artifact = load_artifact(folder)
    region, version = Path(folder_of_driver).parts[-2:]
    states = FollowerStates.of(follow_in, region, version) if follow_in else None
    follows = follow(states, folder, int(tick_s)) if states else Followed()
    last_hours = None if lately is None else LastHours.unpack(lately)
    model, scores = score_features(artifact, partial(network_of, folder), packed, follows.factors, last_hours)
    raw = unusual = None
    if scores.raw is not None and tick_s % HOUR_S == 0:
        raw = scores.raw.astype("<f4").tobytes()
    if recent is not None:
        shape = (len(WINDOWS_S), artifact.spec.grid.cells, len(artifact.spec.categories))
        counts = np.frombuffer(recent, "<i4").reshape(shape)
        before = follows.before if scores.is_followed else None
        places = scan_of(folder).places(counts, scores.usual[:, :, 0], int(tick_s), before)
        unusual = msgspec.msgpack.encode(places)
    arrays: dict[str, Any] = {name: getattr(scores, name).astype("<f4").tobytes() for name in FIELDS}
    return ScoreColumns(
        model,
        **arrays,
        raw=raw,
        followed=follows.hour if scores.is_followed else None,
        unfollowed=None if scores.is_followed else follows.fault or None,
        unusual=unusual,
        surges=msgspec.msgpack.encode(scores.surges) if scores.surges else None,
    )

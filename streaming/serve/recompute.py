"""Scores of counts that never were: the newest frame's counts and some more incidents, through the job's own functions.

The one place of the service that computes, and that needs torch, which the first question loads. `CountState.apply`
counts the incidents, and they are taken away again; the artifact that made the frame gives features and scores. So an
answer has the numbers that the job would publish if it received these incidents now.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from models.counting.count_state import CountState
from models.counting.registry import Registry
from models.features import FeatureEngine
from schemas.errors import ArtifactError, DataError, SinkError
from schemas.frame import RiskFrame
from schemas.incidents import COUNTED_ORIGIN, NO_PLACE, Incidents
from streaming.disk.frame_counts import CountsAt, counts_at
from streaming.disk.frame_file import StoredFrames
from streaming.roster.roster import load_artifact

Views = tuple[RiskFrame, RiskFrame]
_NEXT = "ask again when the next one is there; if none comes, look after the scorer"
_MOST_REGIONS = 4  # whose counts stay in memory: the largest have some 100 MB


class Supposed(NamedTuple):
    """An incident that is supposed to have happened."""

    category: int
    cell: int
    occurred_s: int


class Answer(NamedTuple):
    """The scores of both sides, by category and of all."""

    before: Views
    after: Views
    reproduces: bool  # `before`, computed here, is what was published, to the last bit


@dataclass(slots=True)
class _Region:
    folder: str
    engine: FeatureEngine
    counts: CountsAt
    digest: str = ""  # of the frame that `before` stands beside
    before: Views | None = None


@dataclass(slots=True, kw_only=True)
class Recompute:
    """Computes one answer at a time."""

    artifacts: Path
    frames: Path
    _regions: "OrderedDict[str, _Region]" = field(default_factory=OrderedDict)
    waiting: int = 0  # questions, the one that is computed among them
    _one_at_a_time: threading.Lock = field(default_factory=threading.Lock)

    def what_if(self, stored: StoredFrames, supposed: Sequence[Supposed]) -> Answer:
        """Raises DataError for an incident that the job would not count, SinkError or ArtifactError where what made the
        frame is not there.
        """
        with self._one_at_a_time:
            import torch

            torch.set_num_threads(1)  # as the job's workers: a sum in another order has other last bits
            region = self._opened(stored)
            state, as_of_s = region.counts.state, stored.by_category.as_of_s
            _move_on(state, as_of_s)
            if region.before is None or region.digest != stored.digest:
                region.before, region.digest = _views(region, state), stored.digest
            _refuse(supposed, state)
            applied = state.apply(_incidents(supposed), as_of_s)
            try:
                after = _views(region, state)
            finally:
                state.move(tuple((occurred_s, place, -sign) for occurred_s, place, sign in applied.moved))
                state.registry = Registry()
            return Answer(region.before, after, region.before[0].digest() == stored.digest)

    def _opened(self, stored: StoredFrames) -> _Region:
        spec, made_of = stored.by_category.spec, stored.made_of
        folder = str((self.artifacts / spec.region / made_of.artifact).absolute())
        known = self._regions.pop(spec.region, None)  # put back when its counts are those of the frame
        if known and known.folder != folder:
            known = None
        if not made_of.artifact:
            fault = f"the frame of {spec.region} does not say which artifact made it: its job is of an older version"
            raise ArtifactError(fault, remedy="start the job again with this version")
        if not Path(folder).is_dir():
            fault = f"the artifact {made_of.artifact}, which made these scores, is not here"
            raise ArtifactError(fault, remedy="give the service the job's RISK_ARTIFACTS, to read")
        artifact = load_artifact(folder)
        counts = counts_at(self.frames, spec, made_of.counts, known.counts if known else None)
        if known is None:
            known = _Region(folder, FeatureEngine(artifact.spec, artifact.constants), counts)
        known.counts = counts
        self._regions[spec.region] = known
        while len(self._regions) > _MOST_REGIONS:
            self._regions.popitem(last=False)
        return known


def _move_on(state: CountState, as_of_s: int) -> None:
    """Raises SinkError when the counts have gone on to later bins than the frame's."""
    state.advance(as_of_s)
    if any(level.newest != as_of_s // level.level.width_s for level in state.levels.values()):
        raise SinkError("the counts are ahead of the newest frame", _NEXT)
    state.as_of_s = as_of_s  # from a batch that came later in the same bins, and published nothing


def _views(region: _Region, state: CountState) -> Views:
    from models.all_categories import stored_views
    from streaming.flow.score import scored_frame

    frame = scored_frame(region.folder, region.engine.compute(state), state.as_of_s)
    return stored_views(frame, load_artifact(region.folder).constants)


def _refuse(supposed: Sequence[Supposed], state: CountState) -> None:
    """Raise DataError for an incident that the job would not count."""
    for number, one in enumerate(supposed):
        why = (
            "lies after the scores' own time, as_of"
            if one.occurred_s > state.as_of_s
            else "is older than the region's late limit"
            if one.occurred_s < state.as_of_s - state.spec.late_limit_s
            else "is from before the end of the history that the counts began with"
            if one.occurred_s < state.history_end_s
            else ""
        )
        if why:
            raise DataError(f"event {number} {why}", remedy="choose another occurred_at")


def _incidents(supposed: Sequence[Supposed]) -> Incidents:
    """As if each had been reported in a message of its own."""
    nothing = np.zeros(len(supposed), np.int64)
    return Incidents(
        key=np.arange(1, len(supposed) + 1, dtype=np.uint64),
        revision=nothing.astype(np.int32),
        occurred_s=np.array([one.occurred_s for one in supposed], np.int64),
        received_ms=nothing,
        cell=np.array([one.cell for one in supposed], np.int32),
        category=np.array([one.category for one in supposed], np.int16),
        flags=np.full(len(supposed), COUNTED_ORIGIN, np.uint8),
        place=np.full((len(supposed), 2), NO_PLACE, np.int32),  # so it repeats no call
        partition=nothing.astype(np.int32),
        kafka_offset=nothing,
        kafka_time_ms=nothing,
    )

"""What a region's follower learns from final counts, hour by hour: a file for each hour, which never changes."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from models.artifact.artifact import Artifact, read_artifact
from models.follower_state import FollowerState
from models.following import FinalOutcome, Follower
from schemas.errors import CheckpointError, DataError
from schemas.frame import is_baseline
from schemas.left_behind.closed_counts import ClosedHorizon
from schemas.left_behind.follower_states import FollowerStates, read_follower_state
from schemas.left_behind.kept_forecasts import KeptForecast, KeptForecasts
from schemas.left_behind.trial_folder import forecasts_folder, outcomes_folder
from schemas.spec import HOUR_S, Spec


@dataclass(slots=True, kw_only=True)
class Teacher:
    """Teaches the followers of a region's champion and challenger."""

    checkpoint: Path
    artifacts: Path
    _followers: dict[str, Follower] = field(default_factory=dict)  # by version

    def teach(self, spec: Spec, closed: Sequence[ClosedHorizon], cut: Collection[int] = ()) -> None:
        """Learn last judgements that were due at the same time. cut: hours since 1970 that say nothing of the city.

        What was learned before stays as it is. Raises CheckpointError, and ArtifactError when a version is gone.
        """
        hour_s = max((horizon.judged_s for horizon in closed), default=0) + HOUR_S
        whole = [horizon for horizon in closed if not _hours_of(horizon, spec) & set(cut)]
        for folder in (outcomes_folder(self.checkpoint), forecasts_folder(self.checkpoint)):
            forecasts = [(horizon, KeptForecasts(folder).read(spec, horizon.tick_s)) for horizon in whole]
            learned = [(horizon, kept) for horizon, kept in forecasts if kept and not is_baseline(kept.model)]
            for version in sorted({kept.model for _, kept in learned}):
                of_version = [(horizon, kept) for horizon, kept in learned if kept.model == version]
                self._teach(spec, version, hour_s, of_version)

    def _teach(
        self, spec: Spec, version: str, hour_s: int, closed: Sequence[tuple[ClosedHorizon, KeptForecast]]
    ) -> None:
        states = FollowerStates.of(self.checkpoint, spec.region, version)
        if states.has(hour_s):
            return
        follower = self._follower(spec.region, version)
        before = _state(states.newest(hour_s - HOUR_S), spec)
        after = follower.learn(before, _outcomes(follower, states, spec, closed))
        states.write(hour_s, after.arrays())

    def _follower(self, region: str, version: str) -> Follower:
        if version not in self._followers:
            artifact: Artifact = read_artifact(self.artifacts / region / version)
            self._followers[version] = Follower.of(artifact.spec, artifact.constants)
        return self._followers[version]


def _state(path: Path | None, spec: Spec) -> FollowerState:
    """What a file says; without one, that nothing is known. Raises CheckpointError."""
    if path is None:
        return FollowerState.new(spec)
    try:
        return FollowerState.checked(read_follower_state(path), spec)
    except DataError as error:
        raise CheckpointError(f"{path}: {error.message}", "delete the folder: following begins anew") from error


def _outcomes(
    follower: Follower, states: FollowerStates, spec: Spec, closed: Sequence[tuple[ClosedHorizon, KeptForecast]]
) -> Iterator[FinalOutcome]:
    for horizon, kept in closed:
        yield FinalOutcome(
            horizon=horizon.horizon,
            tick_s=horizon.tick_s,
            raw=(kept.expected if kept.raw is None else kept.raw)[:, :, horizon.horizon],
            observed=horizon.observed,
            following=follower.factors(
                _state(None if kept.raw is None else states.path(int(kept.following)), spec), horizon.tick_s
            ),
        )


def _hours_of(horizon: ClosedHorizon, spec: Spec) -> set[int]:
    end_s = horizon.tick_s + spec.horizons_s[horizon.horizon]
    return set(range(horizon.tick_s // HOUR_S, -(-end_s // HOUR_S)))

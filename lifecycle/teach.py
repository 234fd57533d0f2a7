"""What a region's follower learns from final counts, hour by hour: a file for each hour, which never changes."""

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from models.artifact import Artifact, read_artifact
from models.dispersion import Floats
from models.follower import FinalOutcome, FollowedFactors, Follower, Parts, followed_change
from models.following import GUARDS, FollowerState
from schemas.errors import CheckpointError, DataError, RiskError
from schemas.forecasts import (
    ClosedHorizon,
    FollowedChange,
    FollowerStates,
    KeptForecast,
    KeptForecasts,
    forecasts_folder,
    outcomes_folder,
    read_follower_state,
)
from schemas.frame import is_baseline
from schemas.spec import DAY_S, HOUR_S, Spec
from streaming.sinks.line_protocol import point_line

log = logging.getLogger(__name__)
_WORTH_A_POINT = 1.1  # factor of a cell, or its inverse
_Judged = tuple[ClosedHorizon, KeptForecast]


@dataclass(slots=True, kw_only=True)
class Teacher:
    """Teaches the followers of a region's champion and challenger."""

    checkpoint: Path
    artifacts: Path
    _followers: dict[str, Follower] = field(default_factory=dict)  # by version

    def teach(self, spec: Spec, closed: Sequence[ClosedHorizon], cut: Collection[int] = ()) -> bytes:
        """Learn last judgements that were due at the same time. cut: hours since 1970 that say nothing of the city.

        Gives the points of the version that scored. What was learned before stays as it is, and gives them again.
        Raises CheckpointError, and ArtifactError when the version that scored is gone; a fault of another one is said.
        """
        judged_s = max((horizon.judged_s for horizon in closed), default=0)
        hour_s = -(-judged_s // HOUR_S) * HOUR_S + HOUR_S  # a whole one: a late limit may be any number of seconds
        whole = []
        for horizon in closed:
            end_s = horizon.tick_s + spec.horizons_s[horizon.horizon]
            if set(cut).isdisjoint(range(horizon.tick_s // HOUR_S, -(-end_s // HOUR_S))):
                whole.append(horizon)
        shown, beside = (
            [
                (horizon, kept)
                for horizon in whole
                if (kept := KeptForecasts(folder).read(spec, horizon.tick_s)) and not is_baseline(kept.model)
            ]
            for folder in (outcomes_folder(self.checkpoint), forecasts_folder(self.checkpoint))
        )
        judged: dict[str, list[_Judged]] = {}  # by version
        for pair in (*shown, *beside):
            judged.setdefault(pair[1].model, []).append(pair)
        # A day long after a promotion a version's long horizons began as the challenger's.
        scored = max(shown, key=lambda pair: pair[0].tick_s)[1].model if shown else ""
        of_scored = judged.pop(scored, [])
        for version, of_version in judged.items():
            try:
                self._teach(spec, version, of_version, hour_s)
            except (RiskError, OSError) as error:
                log.warning("region=%s follower of %s has not learned an hour reason=%s", spec.region, version, error)
        return self._teach(spec, scored, of_scored, hour_s) if of_scored else b""

    def _teach(self, spec: Spec, version: str, judged: Sequence[_Judged], hour_s: int) -> bytes:
        """Teach the follower of a version what came of its forecasts. Gives its points."""
        follower = self._follower(spec.region, version)
        states = FollowerStates.of(self.checkpoint, spec.region, version)
        outcomes = list(_outcomes(follower, states, spec, judged))
        state = _learned(follower, states, spec, hour_s, outcomes)

        def shown(at_s: int) -> FollowedFactors | None:
            path = states.for_forecast(at_s)
            return FollowedFactors.of(_state(path, spec)) if path else None

        change = followed_change(shown, hour_s)
        states.say(FollowedChange(hour_s, *change) if change else None)
        return following_lines(spec, version, state, hour_s - HOUR_S, gains_of(follower, outcomes))

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


def _learned(
    follower: Follower, states: FollowerStates, spec: Spec, hour_s: int, outcomes: Sequence[FinalOutcome]
) -> FollowerState:
    """What is known for an hour: by its file, which is written where there is none."""
    if states.path(hour_s).exists():
        return _state(states.path(hour_s), spec)
    path = states.newest(hour_s - HOUR_S)
    state = _state(path, spec)
    if path and path != states.for_forecast(hour_s - HOUR_S):  # nothing was learned for days: it has aged
        state = replace(state, waited_s=np.asarray(state.waited_s + hour_s - int(path.stem)))
    state = follower.learn(state, outcomes)
    states.write(hour_s, state.arrays())
    return state


def gains_of(follower: Follower, outcomes: Sequence[FinalOutcome]) -> list[tuple[float, int]]:
    """Of each category, nats that following gained at the first horizon, and incidents that came in it."""
    first = [outcome for outcome in outcomes if outcome.horizon == 0]
    gained = sum((follower.gained(outcome) for outcome in first), np.zeros(len(follower.spec.categories)))
    came = sum((outcome.observed.sum(axis=0) for outcome in first), np.zeros(len(follower.spec.categories), np.int64))
    return list(zip(gained.tolist(), came.tolist(), strict=True))


def _outcomes(
    follower: Follower, states: FollowerStates, spec: Spec, judged: Sequence[_Judged]
) -> Iterator[FinalOutcome]:
    for horizon, kept in judged:
        path = states.path(int(kept.following)) if kept.following else None
        if path and not path.exists():
            continue  # following begins anew: what this forecast followed is gone
        yield FinalOutcome(
            horizon=horizon.horizon,
            tick_s=horizon.tick_s,
            raw=(kept.expected if kept.raw is None else kept.raw)[:, :, horizon.horizon],
            observed=horizon.observed,
            following=follower.at(_state(path, spec), horizon.tick_s),
        )


def following_lines(
    spec: Spec, version: str, state: FollowerState, at_s: int, gains: Iterable[tuple[float, int]]
) -> bytes:
    """What a follower knows, as points; cells once a day, those whose factor says something.

    gains: of each category, nats that following gained in the newest hour, and incidents that came in it.
    """
    parts, lines, still = Parts.of(state), [], state.still[GUARDS]
    for place, (category, (gained, came)) in enumerate(zip(spec.categories, gains, strict=True)):
        tags = {"category": category, "region": spec.region}
        fields = {"level": parts.level[place, 0], "as_usual": still[place], "gained": gained, "incidents": float(came)}
        lines.append(point_line("following", tags, {**fields, "model": version}, at_s))
        for hour, factor in enumerate(parts.hours[place]):
            of_hour = {"category": category, "hour": f"{hour:02d}", "region": spec.region}
            lines.append(point_line("following_hour", of_hour, {"factor": factor}, at_s))
        if at_s % DAY_S == 0:
            lines += _cells(spec, category, parts.cells[place], at_s)
    return b"".join(lines)


def _cells(spec: Spec, category: str, factors: Floats, at_s: int) -> Iterator[bytes]:
    ids, geohashes = spec.grid.cell_ids(), spec.grid.geohashes()
    for cell in np.flatnonzero(np.abs(np.log(factors)) > np.log(_WORTH_A_POINT)):
        tags = {"category": category, "cell": ids[cell], "geohash": geohashes[cell], "region": spec.region}
        yield point_line("following_cell", tags, {"factor": factors[cell]}, at_s)

"""What made a score: parts that add up to the log of the expected count."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from models.artifact.artifact import Artifact
from models.attribution import groups_of, shares
from models.baseline import horizon_hours, profile_hours
from models.counting.count_state import CountState
from models.feature_lists import usual_columns
from models.features import FeatureEngine
from schemas.frame import attribution_groups


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One summand of log expected."""

    name: str
    log: float

    @property
    def factor(self) -> float:
        return float(np.exp(self.log))


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """One cell, category and horizon. The parts' logs add up to the log of `expected`."""

    cell: str
    category: str
    horizon: str
    expected: float
    usual: float
    parts: tuple[Part, ...]


def explain(artifact: Artifact, state: CountState, cell: int) -> Iterator[Explanation]:
    """Every category and horizon of a cell, as `state` stands; without a network the baseline's parts alone."""
    spec, constants = artifact.spec, artifact.constants
    values = FeatureEngine(spec, constants).compute(state).values
    at_s = state.as_of_s - state.as_of_s % spec.tick_s
    own_hours = horizon_hours(constants, at_s, spec)[cell]  # (categories, horizons)
    hours = np.stack([profile_hours(constants, at_s, at_s + h, spec.timezone) for h in spec.horizons_s], axis=1)
    log_usual = values[cell, :, usual_columns(len(spec.horizons_s))].astype(np.float64)
    network = artifact.network()
    added, words = {}, attribution_groups(spec.features)
    if network is not None:
        inputs = network.inputs(values, spec.grid)[cell : cell + 1]
        added = shares(network, inputs, groups_of(network, spec.features))
    for category, category_name in enumerate(spec.categories):
        for horizon, horizon_name in enumerate(spec.horizon_names):
            usual, length = log_usual[category, horizon], np.log(spec.horizons_s[horizon] / 3600)
            own, average = np.log(own_hours[category, horizon]), np.log(hours[category, horizon])
            parts = [
                Part(name="the cell's rate at the region's level", log=float(usual - own + length)),
                Part(name="hour of the week", log=float(average - length)),
                Part(name="the cell's own day", log=float(own - average)),
                *(Part(name=words[name], log=float(share[0, category, horizon])) for name, share in added.items()),
            ]
            yield Explanation(
                cell=spec.grid.cell_id(cell),
                category=category_name,
                horizon=horizon_name,
                expected=float(np.exp(sum(part.log for part in parts))),
                usual=float(np.exp(usual)),
                parts=tuple(parts),
            )

"""What made a score: parts that add up to the log of the expected count."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from math import factorial
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from torch import nn

from models.artifact import Artifact
from models.baseline import horizon_hours, profile_hours
from models.count_state import CountState
from models.features import FeatureEngine
from models.scoring import residual_of

Values = npt.NDArray[np.float32]

# What a feature is about, by the start of its name. Each group is one part of what the network adds.
GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "recent counts here": ("cell_", "all_1h", "all_24h", "all_7d", "hours_since", "same_hours_"),
        "recent counts next door": ("ring_",),
        "the region's level": ("level_",),
        "long memory": ("rate_", "block_rate", "all_rate", "region_rate", "log_usual_"),
        "time of day and week": ("day_", "week_"),
    }
)
NETWORK_ALONE = "the network, all features at their mean"


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


def groups_of(features: tuple[str, ...]) -> dict[str, npt.NDArray[np.intp]]:
    """Columns of each group. Raises ValueError for a feature that belongs to no group or to two."""
    columns: dict[str, list[int]] = {name: [] for name in GROUPS}
    for column, feature in enumerate(features):
        homes = [name for name, starts in GROUPS.items() if feature.startswith(starts)]
        if len(homes) != 1:
            raise ValueError(f"feature {feature!r} belongs to {homes or 'no group'}")
        columns[homes[0]].append(column)
    return {name: np.array(found, np.intp) for name, found in columns.items()}


def explain(artifact: Artifact, state: CountState, cell: int) -> Iterator[Explanation]:
    """Every category and horizon of a cell, as `state` stands; without a network the baseline's parts alone."""
    spec, constants = artifact.spec, artifact.constants
    values = FeatureEngine(spec, constants).compute(state).values
    at_s = state.as_of_s - state.as_of_s % spec.tick_s
    own_hours = horizon_hours(constants, at_s, spec)[cell]  # (categories, horizons)
    hours = np.stack([profile_hours(constants, at_s, at_s + h, spec.timezone) for h in spec.horizons_s], axis=1)
    log_usual = values[cell, :, -len(spec.horizons_s) :].astype(np.float64)
    network = artifact.network()
    added = {} if network is None else shares(network, values[cell], groups_of(spec.features))
    for category, category_name in enumerate(spec.categories):
        for horizon, horizon_name in enumerate(spec.horizon_names):
            usual, length = log_usual[category, horizon], np.log(spec.horizons_s[horizon] / 3600)
            own, average = np.log(own_hours[category, horizon]), np.log(hours[category, horizon])
            parts = [
                Part(name="the cell's long-memory rate", log=float(usual - own + length)),
                Part(name="hour of the week", log=float(average - length)),
                Part(name="the cell's own day", log=float(own - average)),
                *(Part(name=name, log=float(share[category, horizon])) for name, share in added.items()),
            ]
            yield Explanation(
                cell=spec.grid.cell_ids()[cell],
                category=category_name,
                horizon=horizon_name,
                expected=float(np.exp(sum(part.log for part in parts))),
                usual=float(np.exp(usual)),
                parts=tuple(parts),
            )


def shares(
    network: nn.Module, values: Values, groups: Mapping[str, npt.NDArray[np.intp]]
) -> dict[str, npt.NDArray[np.float64]]:
    """What each group of features adds to the network's residual: (categories, horizons) each, adding up to it.

    The Shapley value of each group, the others at the values of training's mean; exact, all coalitions are computed.
    Beside the groups, what the network gives when all features are at their mean. values: (categories, features).
    Source: Shapley 1953; for features of a model, Strumbelj and Kononenko, JMLR 11, 2010.
    """
    names = list(groups)
    mean = network.get_buffer("mean").cpu().numpy()
    coalitions = [chosen for size in range(len(names) + 1) for chosen in combinations(range(len(names)), size)]
    rows = np.broadcast_to(mean, (len(coalitions), *values.shape)).copy()
    for row, chosen in zip(rows, coalitions, strict=True):
        for number in chosen:
            row[:, groups[names[number]]] = values[:, groups[names[number]]]
    residuals = dict(zip(coalitions, residual_of(rows, network).astype(np.float64), strict=True))
    found = {NETWORK_ALONE: residuals[()]}
    for number, name in enumerate(names):
        total = np.zeros_like(residuals[()])
        for chosen in coalitions:
            if number not in chosen:
                weight = factorial(len(chosen)) * factorial(len(names) - len(chosen) - 1) / factorial(len(names))
                total += weight * (residuals[tuple(sorted((*chosen, number)))] - residuals[chosen])
        found[name] = total
    return found

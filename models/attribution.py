"""What the network's part of a score came from: Shapley values of groups of features."""

from collections.abc import Mapping
from itertools import combinations
from math import factorial

import numpy as np
import numpy.typing as npt

from models.feature_lists import group_of
from models.network import RiskNetwork, residual_of
from schemas.frame import ATTRIBUTED_RANKS, ATTRIBUTION_GROUPS, riskiest

Values = npt.NDArray[np.float32]

NETWORK_ALONE = "network"  # all features at their mean
FOLLOWING, NOWCAST = "following", "nowcast"  # no features: factors of their own, behind the network


def groups_of(features: tuple[str, ...]) -> dict[str, npt.NDArray[np.intp]]:
    """The positions of the features of each group."""
    homes = np.array([group_of(name) for name in features])
    names = [name for name in ATTRIBUTION_GROUPS if name not in (NETWORK_ALONE, FOLLOWING, NOWCAST)]
    return {name: np.flatnonzero(homes == name) for name in names}


def shares(
    network: RiskNetwork, inputs: Values, groups: Mapping[str, npt.NDArray[np.intp]]
) -> dict[str, npt.NDArray[np.float64]]:
    """What each group of features adds to the network's residual: (cells, categories, horizons) each, adding up to it.

    The Shapley value of each group, the others at the values of training's mean; exact, all coalitions are computed.
    Beside the groups, what the network gives when all features are at their mean. inputs: (cells, categories,
    features). Source: Shapley 1953; for features of a model, Strumbelj and Kononenko, JMLR 11, 2010.
    """
    names = list(groups)
    mean = network.get_buffer("mean").cpu().numpy()
    coalitions = [chosen for size in range(len(names) + 1) for chosen in combinations(range(len(names)), size)]
    joined = np.zeros((len(coalitions), len(mean)), np.bool_)
    for columns, chosen in zip(joined, coalitions, strict=True):
        for number in chosen:
            columns[groups[names[number]]] = True
    rows = np.where(joined[:, None, None], inputs, mean)
    answers = residual_of(rows.reshape(-1, *inputs.shape[1:]), network).astype(np.float64)
    residuals = dict(zip(coalitions, answers.reshape(*rows.shape[:-1], -1), strict=True))
    logs = {NETWORK_ALONE: residuals[()]}
    for number, name in enumerate(names):
        total = np.zeros_like(residuals[()])
        for chosen in coalitions:
            if number not in chosen:
                weight = factorial(len(chosen)) * factorial(len(names) - len(chosen) - 1) / factorial(len(names))
                total += weight * (residuals[tuple(sorted((*chosen, number)))] - residuals[chosen])
        logs[name] = total
    return logs


def attribute_riskiest(
    inputs: Values,
    network: RiskNetwork | None,
    features: tuple[str, ...],
    *,
    risk: Values,
    expected: Values,
    following: Values | None = None,
    nowcast: npt.NDArray[np.float64] | None = None,
) -> Values:
    """(ranks, categories, horizons, groups) factors that lead from usual to expected in the riskiest cells.

    inputs: (cells, categories, features). risk, expected, following: (cells, categories, horizons). nowcast:
    (categories, horizons). Without a network all others are 1.
    """
    cells, categories, horizons = risk.shape
    ranks, groups = min(ATTRIBUTED_RANKS, cells), ATTRIBUTION_GROUPS
    if network is None:
        factors = np.ones((ranks, categories, horizons, len(groups)), np.float32)
        if nowcast is not None:
            factors[..., [*groups].index(NOWCAST)] = nowcast
        return factors
    places = [(category, horizon) for category in range(categories) for horizon in range(horizons)]
    ranked = np.empty((ranks, categories, horizons), np.intp)
    for category, horizon in places:
        ranked[:, category, horizon] = riskiest(risk[:, category, horizon], expected[:, category, horizon], ranks)
    # The horizons of a category share most of their cells: each is asked once, in line `position` of its category.
    asked = [np.unique(ranked[:, category], return_inverse=True) for category in range(categories)]
    rows = np.zeros((max(len(those) for those, _ in asked), *inputs.shape[1:]), np.float32)
    for category, (those, _) in enumerate(asked):
        rows[: len(those), category] = inputs[those, category]
    log_shares = shares(network, rows, groups_of(features))
    log_shares[FOLLOWING] = log_shares[NOWCAST] = np.zeros_like(log_shares[NETWORK_ALONE])
    logs = np.stack([log_shares[name] for name in groups], axis=-1)  # (rows, categories, horizons, groups)
    factors = np.empty((ranks, categories, horizons, len(groups)), np.float32)
    for category, horizon in places:
        position = asked[category][1].reshape(ranks, horizons)[:, horizon]
        factors[:, category, horizon] = np.exp(logs[position, category, horizon])
        if following is not None:
            of_cells = following[ranked[:, category, horizon], category, horizon]
            factors[:, category, horizon, [*groups].index(FOLLOWING)] = of_cells
    if nowcast is not None:
        factors[..., [*groups].index(NOWCAST)] = nowcast
    return factors

"""From features to scores: expected numbers, chances of at least one, intervals, and what the numbers came from.

The scores of all categories together follow from those of each, which count as independent, given the forecast. What
sums up scores, as the job's driver does, needs no torch: it is imported where a network is asked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import factorial
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from models.baseline import BaselineConstants
from models.dispersion import Dispersion, Floats, any_quantile, at_least_one, predictive_quantile
from models.feature_lists import group_of, usual_columns
from models.nowcast import LastHours, factors_of
from schemas.frame import ATTRIBUTED_RANKS, ATTRIBUTION_GROUPS, RiskFrame, Surge, riskiest
from schemas.spec import Spec

if TYPE_CHECKING:
    from models.network import RiskNetwork

Values = npt.NDArray[np.float32]

NETWORK_ALONE = "network"  # all features at their mean
FOLLOWING, NOWCAST = "following", "nowcast"  # no features: factors of their own, behind the network


def groups_of(features: tuple[str, ...]) -> dict[str, npt.NDArray[np.intp]]:
    """The positions of the features of each group."""
    homes = np.array([group_of(name) for name in features])
    names = [name for name in ATTRIBUTION_GROUPS if name not in (NETWORK_ALONE, FOLLOWING, NOWCAST)]
    return {name: np.flatnonzero(homes == name) for name in names}


def shares(
    network: "RiskNetwork", inputs: Values, groups: Mapping[str, npt.NDArray[np.intp]]
) -> dict[str, npt.NDArray[np.float64]]:
    """What each group of features adds to the network's residual: (cells, categories, horizons) each, adding up to it.

    The Shapley value of each group, the others at the values of training's mean; exact, all coalitions are computed.
    Beside the groups, what the network gives when all features are at their mean. inputs: (cells, categories,
    features). Source: Shapley 1953; for features of a model, Strumbelj and Kononenko, JMLR 11, 2010.
    """
    from models.network import residual_of

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
    network: "RiskNetwork | None",
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


LOW, HIGH = 0.05, 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class CellScores:
    """(cells, categories, horizons) each but `attribution`; see schemas.frame.RiskFrame for their meaning."""

    expected: Values
    risk: Values
    low: Values
    high: Values
    usual: Values
    attribution: Values  # (ranks, categories, horizons, ATTRIBUTION_GROUPS)
    raw: Values | None = None  # expected by the network alone; None: the same
    is_followed: bool = False  # whether `expected` has factors of what was followed
    surges: tuple[Surge, ...] = ()


def means(values: Values, network: "RiskNetwork | None", spec: Spec) -> tuple[Values, Values]:
    """(cells, categories, horizons) what is usual and what is expected, as `score` says."""
    from models.network import residual_of

    log_usual = values[:, :, usual_columns(len(spec.horizons_s))]  # (cells, categories, horizons)
    residual = np.zeros_like(log_usual) if network is None else residual_of(values, network)
    if residual.shape != log_usual.shape:  # NumPy would stretch one horizon over all
        raise RuntimeError(f"the network gives {residual.shape}, must give {log_usual.shape}")
    usual, expected = np.exp(log_usual), np.exp(log_usual + residual)
    if not (np.isfinite(expected).all() and np.isfinite(usual).all()):
        raise FloatingPointError("the network's output is not finite" if network else "the baseline is not finite")
    return usual, expected


def score(
    values: Values,
    network: "RiskNetwork | None",
    constants: BaselineConstants,
    spec: Spec,
    following: Values | None = None,
    lately: LastHours | None = None,
) -> CellScores:
    """The scores of one region's features. Without a network they are the baseline's: what is usual, raised in a surge.

    values: (cells, categories, features). following: (cells, categories, horizons) factors on what a network expects.
    lately: what came in the region's last hours, by which all of it has the factors of a surge; None: it has none.
    The network is used on the device it is on, with the threads torch was given. Raises FloatingPointError when a
    score is not finite, RuntimeError when the network gives another shape: the caller can then score without the
    network.

    >>> from pathlib import Path
    >>> from models.artifact import champion_of
    >>> from models.features import FeatureEngine
    >>> artifact = champion_of(Path("streaming/sample/artifacts"), "montgomery")
    >>> values = FeatureEngine(artifact.spec, artifact.constants).compute(artifact.history()).values
    >>> score(values, artifact.network(), artifact.constants, artifact.spec).risk.shape
    (810, 3, 3)
    """
    usual, raw = means(values, network, spec)
    followed = None if network is None else following
    expected = raw if followed is None else np.asarray(raw * followed)
    dispersion = constants.dispersion_in_cells(of_network=network is not None)
    surges, factors = surges_of(lately, usual, followed, expected, constants, spec) if lately else ((), None)
    calm, narrow = None, dispersion
    if factors is not None:
        calm, expected = expected, np.asarray(expected * factors.astype(np.float32))
        dispersion = widened(dispersion, expected, surges, spec)
    risk, low = at_least_one(expected, dispersion), predictive_quantile(expected, dispersion, LOW)
    if calm is not None:  # it may be no surge: no less is likely, nor surely to come, than without it
        risk = np.maximum(risk, at_least_one(calm, narrow))
        low = np.maximum(low, predictive_quantile(calm, narrow, LOW))
    return CellScores(
        expected=expected,
        risk=risk,
        low=low,
        high=predictive_quantile(expected, dispersion, HIGH),
        usual=usual,
        attribution=attribute_riskiest(
            values, network, spec.features, risk=risk, expected=expected, following=followed, nowcast=factors
        ),
        raw=None if followed is None and not surges else raw,
        is_followed=followed is not None,
        surges=surges,
    )


def surges_of(
    lately: LastHours,
    usual: Values,
    followed: Values | None,
    expected: Values,
    constants: BaselineConstants,
    spec: Spec,
) -> tuple[tuple[Surge, ...], Floats | None]:
    """The categories that surge, and (categories, horizons) the factors on what is expected; None where none does.

    usual, followed, expected: (cells, categories, horizons). What is followed now was followed in the last hours.
    """
    if constants.nowcast is None:
        return (), None
    base, total = (of.sum(axis=0, dtype=np.float64) for of in (usual, expected))
    of_followed = base if followed is None else (usual * followed).sum(axis=0, dtype=np.float64)
    before = (of_followed / base)[:, 0]
    factors, variance = factors_of(lately, before, constants.nowcast, total / of_followed)
    surges = tuple(
        Surge(
            category=category,
            factors=tuple(factors[place].tolist()),
            spreads=tuple(np.sqrt(variance[place]).tolist()),
            observed=int(lately.came_1h[place]),
            usual=float(f"{(lately.usual_1h * before)[place]:.4g}"),
        )
        for place, category in enumerate(spec.categories)
        if factors[place].max() > 1
    )
    return surges, factors if surges else None


def raised(surges: Sequence[Surge], spec: Spec) -> Floats:
    """(categories, horizons) the factors of surges."""
    factors = np.ones((len(spec.categories), len(spec.horizons_s)))
    for surge in surges:
        factors[spec.categories.index(surge.category)] = surge.factors
    return factors


def unraised(frame: RiskFrame) -> Values:
    """(cells, categories, horizons) what is expected without the surges."""
    return np.asarray(frame.expected / raised(frame.surges, frame.spec), np.float32)


def widened(dispersion: Dispersion, expected: Values, surges: Sequence[Surge], spec: Spec) -> Dispersion:
    """The dispersion around forecasts that have the factors of surges. expected: (cells, categories, horizons)."""
    if not surges:
        return dispersion
    variance = np.zeros((len(spec.categories), len(spec.horizons_s)))
    for surge in surges:
        variance[spec.categories.index(surge.category)] = np.square(surge.spreads)
    return dispersion.widened(variance, expected)


def stored_views(frame: RiskFrame, constants: BaselineConstants) -> tuple[RiskFrame, RiskFrame]:
    """A frame as it is stored: by category, and over all categories. constants: of the artifact that scored it."""
    dispersion = constants.dispersion_in_cells(of_network=not frame.baseline_only)
    over_all = over_categories(frame, widened(dispersion, frame.expected, frame.surges, frame.spec))
    if frame.surges:
        calm = over_categories(replace(frame, expected=unraised(frame)), dispersion)
        over_all = replace(over_all, low=np.maximum(over_all.low, calm.low))
    return frame, over_all


def over_categories(frame: RiskFrame, dispersion: Dispersion) -> RiskFrame:
    """One category in place of all. dispersion: (categories, horizons), or of each cell (cells, categories, horizons).

    Expected, usual and seen add up; the chance of at least one is that of not none of each. The interval is that of the
    negative binomial with the sum's mean and variance. Support is the best of the categories': at least that much was
    ever reported. A sum has no attribution.
    """
    expected = frame.expected.sum(axis=1, keepdims=True, dtype=np.float64)
    each = frame.expected.astype(np.float64)
    spread = (each * dispersion.excess(each)).sum(axis=1, keepdims=True)  # variance beyond Poisson
    size = np.divide(expected**2, spread, out=np.ones_like(expected), where=spread > 0)
    return replace(
        frame,
        is_sum=True,
        expected=expected.astype(np.float32),
        risk=(1 - np.prod(1 - frame.risk.astype(np.float64), axis=1, keepdims=True)).astype(np.float32),
        low=any_quantile(expected, size, LOW),
        high=any_quantile(expected, size, HIGH),
        usual=frame.usual.sum(axis=1, keepdims=True, dtype=np.float64).astype(np.float32),
        observed_1h=frame.observed_1h.sum(axis=1, keepdims=True, dtype=np.int32),
        support=frame.support.max(axis=1, keepdims=True),
        attribution=frame.attribution[:0, :1],
    )

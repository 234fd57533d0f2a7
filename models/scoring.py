"""From features to scores: what is expected, how likely at least one is, and how wide the prediction is."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.attribution import attribute_riskiest
from models.baseline import BaselineConstants
from models.dispersion import Dispersion, Floats
from models.feature_lists import usual_columns
from models.likelihood import at_least_one, predictive_quantile
from models.network import RiskNetwork, residual_of
from models.nowcast import LastHours, factors_of
from schemas.frame import RiskFrame, Surge
from schemas.spec import Spec

Array = npt.NDArray[np.float32]
LOW, HIGH = 0.05, 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class CellScores:
    """(cells, categories, horizons) each but `attribution`; see schemas.frame.RiskFrame for their meaning."""

    expected: Array
    risk: Array
    low: Array
    high: Array
    usual: Array
    attribution: Array  # (ranks, categories, horizons, ATTRIBUTION_GROUPS)
    raw: Array | None = None  # expected by the network alone; None: the same
    is_followed: bool = False  # whether `expected` has factors of what was followed
    surges: tuple[Surge, ...] = ()


def means(values: Array, network: RiskNetwork | None, spec: Spec) -> tuple[Array, Array]:
    """(cells, categories, horizons) what is usual and what is expected, as `score` says."""
    log_usual = values[:, :, usual_columns(len(spec.horizons_s))]  # (cells, categories, horizons)
    residual = np.zeros_like(log_usual) if network is None else residual_of(values, network)
    if residual.shape != log_usual.shape:  # NumPy would stretch one horizon over all
        raise RuntimeError(f"the network gives {residual.shape}, must give {log_usual.shape}")
    usual, expected = np.exp(log_usual), np.exp(log_usual + residual)
    if not (np.isfinite(expected).all() and np.isfinite(usual).all()):
        raise FloatingPointError("the network's output is not finite" if network else "the baseline is not finite")
    return usual, expected


def score(
    values: Array,
    network: RiskNetwork | None,
    constants: BaselineConstants,
    spec: Spec,
    following: Array | None = None,
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
    >>> artifact = champion_of(Path("streaming/sample/artifacts"), "chicago")
    >>> values = FeatureEngine(artifact.spec, artifact.constants).compute(artifact.history()).values
    >>> score(values, artifact.network(), artifact.constants, artifact.spec).risk.shape
    (1419, 4, 3)
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
    lately: LastHours, usual: Array, followed: Array | None, expected: Array, constants: BaselineConstants, spec: Spec
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


def unraised(frame: RiskFrame) -> Array:
    """(cells, categories, horizons) what is expected without the surges."""
    return np.asarray(frame.expected / raised(frame.surges, frame.spec), np.float32)


def widened(dispersion: Dispersion, expected: Array, surges: Sequence[Surge], spec: Spec) -> Dispersion:
    """The dispersion around forecasts that have the factors of surges. expected: (cells, categories, horizons)."""
    if not surges:
        return dispersion
    variance = np.zeros((len(spec.categories), len(spec.horizons_s)))
    for surge in surges:
        variance[spec.categories.index(surge.category)] = np.square(surge.spreads)
    return dispersion.widened(variance, expected)

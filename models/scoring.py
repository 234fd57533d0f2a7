"""From features to scores: what is expected, how likely at least one is, and how wide the prediction is."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.attribution import attribute_riskiest
from models.baseline import BaselineConstants
from models.feature_lists import usual_columns
from models.likelihood import at_least_one, predictive_quantile
from models.network import RiskNetwork, residual_of
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
    attribution: Array  # (ranks, categories, horizons, attribution_groups)
    raw: Array | None = None  # expected before what was followed; None: the same


def means(values: Array, network: RiskNetwork | None, spec: Spec) -> tuple[Array, Array, Array]:
    """(cells, categories, horizons) what is usual and what is expected, and the network's inputs; as `score` says."""
    log_usual = values[:, :, usual_columns(len(spec.horizons_s))]  # (cells, categories, horizons)
    inputs = values if network is None else network.inputs(values, spec.grid)
    residual = np.zeros_like(log_usual) if network is None else residual_of(inputs, network)
    if residual.shape != log_usual.shape:  # NumPy would stretch one horizon over all
        raise RuntimeError(f"the network gives {residual.shape}, must give {log_usual.shape}")
    usual, expected = np.exp(log_usual), np.exp(log_usual + residual)
    if not (np.isfinite(expected).all() and np.isfinite(usual).all()):
        raise FloatingPointError("the network's output is not finite" if network else "the baseline is not finite")
    return usual, expected, inputs


def score(
    values: Array,
    network: RiskNetwork | None,
    constants: BaselineConstants,
    spec: Spec,
    following: Array | None = None,
) -> CellScores:
    """The scores of one region's features. Without a network they are the baseline's: `expected` equals `usual`.

    values: (cells, categories, features). following: (cells, categories, horizons) factors on what a network expects.
    The network is used on the device it is on, with the threads torch was given. Raises FloatingPointError when a
    score is not finite, RuntimeError when the network gives another shape: the caller can then score without the
    network.

    >>> from pathlib import Path
    >>> from models.artifact.pointer import champion_of
    >>> from models.features import FeatureEngine
    >>> artifact = champion_of(Path("streaming/sample/artifacts"), "chicago")
    >>> values = FeatureEngine(artifact.spec, artifact.constants).compute(artifact.history()).values
    >>> score(values, artifact.network(), artifact.constants, artifact.spec).risk.shape
    (1419, 4, 3)
    """
    usual, raw, inputs = means(values, network, spec)
    followed = None if network is None else following
    expected = raw if followed is None else np.asarray(raw * followed)
    dispersion = constants.dispersion_in_cells(of_network=network is not None)
    risk = at_least_one(expected, dispersion)
    return CellScores(
        expected=expected,
        risk=risk,
        low=predictive_quantile(expected, dispersion, LOW),
        high=predictive_quantile(expected, dispersion, HIGH),
        usual=usual,
        attribution=attribute_riskiest(
            inputs, network, spec.features, risk=risk, expected=expected, following=followed
        ),
        raw=None if followed is None else raw,
    )

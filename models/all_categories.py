"""The scores of all categories together, from those of each. They count as independent, given the forecast."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy.special import betainc, nbdtrik

from models.baseline import BaselineConstants
from models.dispersion import Dispersion, Floats
from models.scoring import HIGH, LOW, unraised, widened
from schemas.frame import RiskFrame

_TRIED = 16


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
        low=_quantile(expected, size, LOW),
        high=_quantile(expected, size, HIGH),
        usual=frame.usual.sum(axis=1, keepdims=True, dtype=np.float64).astype(np.float32),
        observed_1h=frame.observed_1h.sum(axis=1, keepdims=True, dtype=np.int32),
        support=frame.support.max(axis=1, keepdims=True),
        attribution=frame.attribution[:0, :1],
    )


def _quantile(mean: Floats, size: Floats, share: float) -> npt.NDArray[np.float32]:
    """Smallest count that is not exceeded with probability `share`, of the negative binomial."""
    success = size / (size + np.maximum(mean, 1e-9))  # without a mean there is no root
    count = np.zeros(mean.size)
    left = np.arange(mean.size)
    for tried in range(_TRIED):  # most are that small, and the search for a root takes thirty times as long as a try
        left = left[betainc(size.flat[left], tried + 1, success.flat[left]) < share]
        count[left] = tried + 1
    if len(left):
        size, success = size.flat[left], success.flat[left]
        root = np.maximum(np.ceil(nbdtrik(share, size, success)), 0)
        root -= (root > 0) & (betainc(size, np.maximum(root, 1), success) >= share)  # rounded up beyond its whole
        count[left] = root
    return count.reshape(mean.shape).astype(np.float32)

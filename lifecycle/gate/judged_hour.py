"""A forecast of champion and challenger against what was observed. It needs torch; what reads such hours does not."""

from typing import Any

import numpy as np

from lifecycle.gate.shadow_day import ShadowHour
from models.likelihood import log_scores
from models.measures.outcomes import Forecast
from schemas.left_behind.closed_counts import ClosedHorizon
from schemas.spec import Spec


def judged_hour(champion: Forecast, challenger: Forecast | None, closed: ClosedHorizon, spec: Spec) -> ShadowHour:
    """The forecasts against what was observed, and the champion's baseline."""
    h, observed = closed.horizon, closed.observed
    beside = challenger or champion
    sums: dict[str, Any] = {
        name: float(log_scores(mean[:, :, h].astype(np.float64), observed, dispersion[..., h]).sum())
        for name, mean, dispersion in (
            ("champion", champion.expected, champion.dispersion),
            ("challenger", beside.expected, beside.dispersion),
            ("baseline", champion.usual, champion.usual_dispersion),
        )
    }
    for name, values in (
        ("observed", observed.sum(axis=0)),
        ("champion_expected", champion.expected[:, :, h].sum(axis=0, dtype=float)),
        ("challenger_expected", beside.expected[:, :, h].sum(axis=0, dtype=float)),
    ):
        sums[name] = dict(zip(spec.categories, values.tolist(), strict=True))
    return ShadowHour(
        tick_s=closed.tick_s,
        horizon=spec.horizon_names[h],
        champion_version=champion.model,
        challenger_version=challenger.model if challenger else "",
        values=observed.size,
        **sums,
    )

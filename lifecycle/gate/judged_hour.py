"""A forecast of champion and challenger against what was observed. It needs torch; what reads such hours does not."""

from typing import Any

import numpy as np

from lifecycle.gate.shadow_day import ShadowHour
from models.likelihood import log_scores
from models.measures.outcomes import Forecast
from schemas.left_behind.closed_counts import ClosedHorizon
from schemas.spec import Spec


def judged_hour(champion: Forecast, challenger: Forecast | None, closed: ClosedHorizon, spec: Spec) -> ShadowHour:
    """The forecasts as shown against what was observed, the champion's network alone, and its baseline."""
    h, observed, beside = closed.horizon, closed.observed, challenger or champion
    forecasts = {
        "champion": (champion.expected, champion.dispersion),
        "challenger": (beside.expected, beside.dispersion),
        "baseline": (champion.usual, champion.usual_dispersion),
    }
    if champion.raw is not None:
        forecasts["alone"] = (champion.raw, champion.dispersion)
    sums: dict[str, Any] = {
        name: float(log_scores(mean[:, :, h].astype(np.float64), observed, dispersion[..., h]).sum())
        for name, (mean, dispersion) in forecasts.items()
    }
    amounts = {"observed": observed.sum(axis=0)} | {
        f"{name}_expected": mean[:, :, h].sum(axis=0, dtype=float)
        for name, (mean, _) in forecasts.items()
        if name != "baseline"
    }
    for name, values in amounts.items():
        sums[name] = dict(zip(spec.categories, values.tolist(), strict=True))
    return ShadowHour(
        tick_s=closed.tick_s,
        horizon=spec.horizon_names[h],
        champion_version=champion.model,
        challenger_version=challenger.model if challenger else "",
        values=observed.size,
        **sums,
    )

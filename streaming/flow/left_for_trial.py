"""What the job leaves for those who judge a trial: a challenger's forecasts, and the counts of closed horizons.

It judges nothing, and nothing that fails here may end or repeat a batch: what is tried must not harm what scores.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from models.measures.outcomes import Forecast
from schemas.frame import RiskFrame, is_baseline
from schemas.left_behind.closed_counts import ClosedCounts, ClosedFiles, closed_folder
from schemas.left_behind.kept_forecasts import KeptForecasts, forecasts_folder
from schemas.spec import Spec
from streaming.flow.outcomes import unpacked
from streaming.flow.rows import ScoredRow
from streaming.roster.roster import load_artifact

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LeftForTrial:
    """Writes beside the checkpoint."""

    checkpoint: Path

    def keep_forecast(self, row: ScoredRow, beside: RiskFrame) -> None:
        """Keep what a challenger's network forecast beside a frame, unless that hour has a forecast of a challenger.

        What the baseline did in place of a network proves nothing of it, and is not kept.
        """
        try:
            if row.scores.model and not is_baseline(row.scores.model):
                kept = replace(
                    forecast_of(row).to_keep(),
                    raw=unpacked(row.scores.raw, beside.spec),
                    following=row.scores.followed or "",
                )
                KeptForecasts(forecasts_folder(self.checkpoint)).write(kept, beside.spec, beside.tick_s)
        except Exception as error:
            log.warning("region=%s the challenger's forecast is not kept reason=%s", row.region, error)

    def keep_closed(self, spec: Spec, closed: Sequence[ClosedCounts]) -> None:
        """Keep the counts of horizons that no late report can change any more."""
        try:
            ClosedFiles(closed_folder(self.checkpoint)).keep(spec, closed)
        except Exception as error:
            log.warning("region=%s closed counts are not kept for a trial reason=%s", spec.region, error)


def forecast_of(row: ScoredRow) -> Forecast:
    """The forecast that a challenger's scored row holds."""
    artifact = load_artifact(row.artifact or "")
    spec, model = artifact.spec, row.scores.model or ""
    shape = (spec.grid.cells, len(spec.categories), len(spec.horizons_s))
    expected, usual = (
        np.frombuffer(part or b"", "<f4").reshape(shape) for part in (row.scores.expected, row.scores.usual)
    )
    return Forecast.of(model, expected, usual, artifact.constants, of_network=True)

"""A checkpoint with a forecast of two versions, and its judge."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from lifecycle.judge import TrialJudge
from lifecycle.shadow import read_shadow, shadow_path
from models.dispersion import Dispersion
from models.measures import Forecast
from schemas.forecasts import (
    ClosedCounts,
    ClosedFiles,
    ClosedHorizon,
    KeptForecasts,
    closed_folder,
    forecasts_folder,
    last_grace_s,
    outcomes_folder,
)
from tests.harness.judged import CHALLENGER, CHAMPION
from tests.harness.toy import toy_spec

SPEC = toy_spec()
TICK_S = 1_764_028_800  # midnight, UTC: drift is judged, too
NOW_S = TICK_S + SPEC.horizons_s[0] + last_grace_s(SPEC)


def forecast(model):
    shape = (SPEC.grid.cells, len(SPEC.categories), len(SPEC.horizons_s))
    means = np.full(shape, 0.5, np.float32)
    dispersion = Dispersion.quadratic(np.ones(shape[1:]))
    return Forecast(model=model, expected=means, usual=means, dispersion=dispersion, usual_dispersion=dispersion)


@dataclass
class World:
    """A checkpoint with a forecast of both versions, and its judge."""

    judge: TrialJudge
    written: list = field(default_factory=list)

    def closes(self, tick_s=TICK_S, horizon=0):
        judged_s = tick_s + SPEC.horizons_s[horizon] + last_grace_s(SPEC)
        counts = np.zeros((SPEC.grid.cells, len(SPEC.categories)), np.int32)
        closed = ClosedHorizon(horizon=horizon, tick_s=tick_s, judged_s=judged_s, observed=counts)
        self.files.keep(SPEC, [ClosedCounts.of(closed)])

    def points(self, **closed):
        self.closes(**closed)
        self.judge.judge(SPEC)
        return b"".join(self.written)

    @property
    def files(self):
        return ClosedFiles(closed_folder(self.judge.checkpoint))

    @property
    def path(self):
        return shadow_path(self.judge.checkpoint, SPEC.region)

    def hours(self):
        return list(read_shadow(self.path))


@pytest.fixture
def world(tmp_path):
    checkpoint, written = tmp_path / "checkpoint", []
    KeptForecasts(outcomes_folder(checkpoint)).write(forecast(CHAMPION).to_keep(), SPEC, TICK_S)
    KeptForecasts(forecasts_folder(checkpoint)).write(forecast(CHALLENGER).to_keep(), SPEC, TICK_S)
    judge = TrialJudge(checkpoint=checkpoint, artifacts=tmp_path / "artifacts", store=written.append)
    return World(judge, written)

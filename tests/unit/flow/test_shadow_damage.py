"""Whatever is damaged of a challenger: the points of the map go on, and the hour is judged without it."""

from dataclasses import dataclass

import numpy as np
import pytest

from models.counting.closed_horizons import ClosedHorizon, last_grace_s
from models.gate.shadow_day import read_shadow, shadow_path
from models.gate.trial import trial_path
from models.measures.outcomes import Forecast
from streaming.flow import publish
from streaming.flow.outcomes import KeptForecasts
from streaming.flow.publish import forecast_of
from streaming.flow.rows import ClosedCounts
from streaming.flow.shadow import Shadow
from tests.harness.toy import toy_spec

SPEC = toy_spec()
TICK_S = 1_764_028_800  # midnight, UTC: drift is judged, too
CHAMPION, CHALLENGER = "20260101T000000Z-aaaaaaaa", "20260102T000000Z-bbbbbbbb"


def forecast(model):
    shape = (SPEC.grid.cells, len(SPEC.categories), len(SPEC.horizons_s))
    means = np.full(shape, 0.5, np.float32)
    return Forecast(model=model, expected=means, usual=means, dispersion=np.ones(shape[1:]))


@dataclass
class World:
    shadow: Shadow

    def points(self):
        judged_s = TICK_S + SPEC.horizons_s[0] + last_grace_s(SPEC)
        counts = np.zeros((SPEC.grid.cells, len(SPEC.categories)), np.int32)
        closed = ClosedHorizon(horizon=0, tick_s=TICK_S, judged_s=judged_s, observed=counts)
        return self.shadow.points(SPEC, [ClosedCounts.of(closed)])


@pytest.fixture
def world(tmp_path):
    champion = KeptForecasts(tmp_path / "checkpoint" / "outcomes")
    champion.write(forecast(CHAMPION), SPEC, TICK_S)
    shadow = Shadow(checkpoint=tmp_path / "checkpoint", artifacts=tmp_path / "artifacts", champion=champion)
    shadow.keep(forecast(CHALLENGER), SPEC, TICK_S)
    return World(shadow)


def test_without_damage_both_are_judged(world):
    assert world.points().startswith(b"shadow,")
    (hour,) = read_shadow(shadow_path(world.shadow.checkpoint, SPEC.region))
    assert (hour.champion_version, hour.challenger_version) == (CHAMPION, CHALLENGER)


def test_a_damaged_forecast_of_the_challenger_leaves_the_hour_to_the_champion(world):
    path = world.shadow.checkpoint / "shadow" / "forecasts" / SPEC.region / f"{TICK_S}.npz"
    path.write_bytes(b"garbage")
    assert world.points() == b""
    (hour,) = read_shadow(shadow_path(world.shadow.checkpoint, SPEC.region))
    assert (hour.champion_version, hour.challenger_version) == (CHAMPION, "")


def test_a_line_that_cannot_be_read_ends_the_judgement_and_not_the_job(world, caplog):
    path = shadow_path(world.shadow.checkpoint, SPEC.region)
    path.write_bytes(b"garbage\n")
    assert world.points().startswith(b"shadow,")
    assert "line 1 cannot be read" in caplog.text


def test_a_damaged_trial_ends_the_judgement_and_not_the_job(world, caplog):
    path = trial_path(world.shadow.artifacts, SPEC.region)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"garbage")
    assert world.points().startswith(b"shadow,")
    assert "trial.json cannot be used" in caplog.text


def test_a_challenger_whose_folder_went_after_scoring_is_left_out(tmp_path):
    assert forecast_of({"artifact": str(tmp_path / "town" / CHALLENGER)}) is None


def test_artifacts_that_are_away_stop_no_judgement(world, monkeypatch):
    def away(*_):
        raise OSError(116, "Stale file handle")

    monkeypatch.setattr("streaming.flow.shadow.read_trial", away)
    monkeypatch.setattr(publish, "load_artifact", away)
    assert world.points().startswith(b"shadow,")
    assert forecast_of({"artifact": "anywhere"}) is None

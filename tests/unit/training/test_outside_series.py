"""Outside series in training: a known effect is found and gains, and nothing is known before it was issued."""

import msgspec
import numpy as np
import pytest
import torch
from scipy.stats import nbinom

from models.artifact.artifact import read_artifact
from models.features import FeatureEngine, features_of
from models.network import residual_of
from models.scoring import means
from models.training.card import card_text
from models.training.outside_series import OutsideSeries, asked_within, missing_shares, missing_warnings
from models.training.region_spec import spec_for
from models.training.replay import IncidentHistory, Replay
from models.training.train import TrainingOptions, train
from schemas.covariate import NO_VALUES
from schemas.errors import DataError
from schemas.spec import CovariateSeries
from tests.harness.toy import publish_artifact
from tests.harness.windy_town import AHEAD, DAY, DAYS, EFFECT, EVERY, HOUR, START, forecasts, town, wind

WIND = wind()
WIND_SERIES = CovariateSeries(name="wind", max_age_hours=24)
CUTOFF = START + DAYS * DAY
LATE = AHEAD + 1  # hours: then every value is issued after its hour


def trained(values):
    """Of the windy town; with outside series where there are values."""
    torch.set_num_threads(1)
    table = town(WIND)
    spec = spec_for(table, region="made", cell_m=1000, cutoff_s=CUTOFF)
    if len(values):
        spec = msgspec.structs.replace(spec, covariates=(WIND_SERIES,))
        spec = msgspec.structs.replace(spec, features=features_of(spec))
    options = TrainingOptions(step_s=6 * HOUR, epochs=2, seed=0)
    return train(IncidentHistory.of(table, spec, CUTOFF, values), options, report=lambda what, share: None)


@pytest.fixture(scope="module")
def without():
    return trained(NO_VALUES)


@pytest.fixture(scope="module")
def informed():
    return trained(forecasts(WIND))


@pytest.fixture(scope="module")
def late():
    return trained(forecasts(WIND, late_hours=LATE))


def log_score(made, horizon):
    return made.rows[horizon].network_log_score


def test_the_known_effect_is_recovered(informed):
    network, features = informed.network, informed.past.spec.features
    scale = float(informed.constants.covariate_scale[0])
    usual = network.get_buffer("mean").numpy()
    rows = np.tile(usual, (2, 2, 1))  # one unit of the series apart, over all horizons
    for name in features:
        if name.startswith("cov_"):
            rows[:, :, features.index(name)] += np.array([[-0.5], [0.5]], np.float32) / scale
    low, high = residual_of(rows, network)
    np.testing.assert_allclose(high - low, EFFECT, atol=0.15)


def test_centre_and_scale_are_those_of_the_hours_after_the_first_incident(informed):
    assert informed.constants.covariate_centre == pytest.approx(WIND[1 : 24 * DAYS].mean(), abs=1e-9)
    assert informed.constants.covariate_scale == pytest.approx(WIND[1 : 24 * DAYS].std(), abs=1e-9)


def test_with_the_series_the_forecast_is_better_at_every_horizon(without, informed):
    """The counts of the last hours tell something of the wind, so the network without it gains as well."""
    for horizon in range(3):
        baseline = without.rows[horizon].baseline_log_score
        assert informed.rows[horizon].baseline_log_score == pytest.approx(baseline, rel=0.01)
        assert log_score(informed, horizon) < log_score(without, horizon)
        assert baseline - log_score(informed, horizon) > 1.5 * max(baseline - log_score(without, horizon), 0.0)


def test_counts_spread_less_around_what_knows_the_series_and_an_artifact_keeps_both(informed, tmp_path):
    """Else the intervals of a day would hold nearly all of them: they would be the baseline's."""
    constants = informed.constants
    assert (constants.network_dispersion.r[:, 2] > 3 * constants.dispersion.r[:, 2]).all()
    parts = {"network": informed.network, "history": informed.history, "constants": constants}
    again = read_artifact(publish_artifact(tmp_path, spec=informed.past.spec, **parts)).constants
    assert again.network_dispersion == constants.network_dispersion
    assert again.dispersion == constants.dispersion
    spec, random = informed.past.spec, np.random.default_rng(0)
    engine, replay = FeatureEngine(spec, constants), Replay(informed.past)
    shares = []
    for at_s in range(informed.blocks.test_s, CUTOFF - DAY, DAY // 4):
        _, expected, _ = means(engine.compute(replay.lead_to(at_s)).values, informed.network, spec)
        mean, counts = expected[:, :, 2].ravel().astype(np.float64), informed.past.coming(at_s)[:, :, 2].ravel()
        spreads = [constants.dispersion_in_cells(of_network=of_network).r[..., 2] for of_network in (True, False)]
        sizes = [np.broadcast_to(r, expected.shape[:2]).ravel() for r in spreads]
        shares.append([randomised_inside(mean, size, counts, random) for size in sizes])
    own, of_baseline = np.mean(shares, axis=0)
    assert own == pytest.approx(0.90, abs=0.03)
    assert of_baseline > 0.935


def randomised_inside(mean, size, counts, random):
    """The share of counts whose randomised PIT lies in the middle 90 %."""
    law = nbinom(size, size / (size + mean))
    below, at = law.cdf(counts - 1), law.pmf(counts)
    place = below + random.random(len(counts)) * at
    return ((place >= 0.05) & (place <= 0.95)).mean()


def test_values_that_are_issued_after_their_hour_gain_nothing(without, informed, late):
    """The leak test: nothing but the time of issue has changed."""
    past = late.past
    np.testing.assert_array_equal(
        missing_shares(past.covariates, past.spec, asked_within(past.first_s, past.cutoff_s)), 1
    )
    columns = [at for at, name in enumerate(late.past.spec.features) if name.startswith("cov_")]
    engine, replay = FeatureEngine(late.past.spec, late.constants), Replay(late.past)
    for at_s in range(START + DAY, CUTOFF, 7 * DAY + 5 * HOUR):
        features = engine.compute(replay.lead_to(at_s))
        assert not features.values[:, :, columns].any()
        assert features.covariates_missing == 1
    for horizon in range(3):
        gain = log_score(without, horizon) - log_score(informed, horizon)
        assert log_score(late, horizon) == pytest.approx(log_score(without, horizon), abs=gain / 10)


def test_a_series_that_is_often_missing_is_said_and_one_that_is_never_known_is_refused(informed):
    spec, half = informed.past.spec, forecasts(WIND)
    half = half[half["issued_s"] < START + DAYS * DAY // 2]
    (said,) = missing_warnings(OutsideSeries(values=half), spec, asked_within(START, CUTOFF))
    shares = [int(word.rstrip("%,")) for word in said.split() if "%" in word]
    assert all(45 < share < 52 for share in shares)
    assert said.startswith("the outside series wind is missing, so neutral, at 1h 4")
    assert list(missing_warnings(OutsideSeries(values=forecasts(WIND)), spec, asked_within(START, CUTOFF))) == []
    with pytest.raises(DataError, match="wind is never known when a forecast is made"):
        list(
            missing_warnings(OutsideSeries(values=forecasts(WIND, late_hours=LATE)), spec, asked_within(START, CUTOFF))
        )


def test_the_history_at_the_cut_off_knows_what_was_issued_until_then(informed):
    ahead = AHEAD - EVERY  # what the newest issue, EVERY hours ago, has left
    ahead_values = informed.history.covariates.known(informed.past.spec, CUTOFF, ahead + 5)[0]
    np.testing.assert_array_equal(ahead_values[:ahead], WIND[24 * DAYS : 24 * DAYS + ahead])
    assert np.isnan(ahead_values[ahead:]).all()


def test_the_card_says_which_series_and_how_often_it_was_missing(informed, late):
    card = card_text(informed, layout="made", file_rows=[])
    assert "Outside series `wind`: issued 2020-09-13 00:00 to 2020-12-01 18:00 UTC, used for 24 h after" in card
    assert "at 1h 0.0%, 4h 0.0%, 24h 0.0% of the moments" in card
    assert "at 1h 100.0%, 4h 100.0%, 24h 100.0% of the moments" in card_text(late, layout="made", file_rows=[])


def test_a_card_without_outside_series_says_nothing_of_them(without):
    assert "utside series" not in card_text(without, layout="made", file_rows=[])

"""The table's verdicts on forecasts whose quality is known."""

import numpy as np
import pytest
from scipy.stats import nbinom

from models.comparison import LEAST_BLOCKS
from models.dispersion import Dispersion
from models.training.fit_baseline import Blocks
from models.training.training_table import HorizonResult, calibration, gains_nothing, horizon_results, remarks, tally_of
from schemas.spec import DAY_S
from tests.harness.toy import toy_constants, toy_spec

CELLS = 30
SPEC = toy_spec(5, 6)
CONSTANTS = toy_constants(SPEC, dispersion=Dispersion.quadratic([[1.0, 3.0, 9.0], [50.0, 50.0, 50.0]]))


def tallies(network_factor, baseline_factor=1.0, moments=120):
    """Counts of a known mean, and two forecasts that are that mean times a factor."""
    random = np.random.default_rng(0)
    made = []
    for moment in range(moments):
        mean = random.gamma(0.5, size=(CELLS, 2, 3)).astype(np.float32) + np.float32(0.01)
        counts = random.poisson(mean).astype(np.int32)
        factor = network_factor * np.exp(0.01 * random.normal()) if network_factor != 1 else 1.0
        usual, expected = mean * np.float32(baseline_factor), mean * np.float32(factor)
        made.append(tally_of(moment * 6 * 3600, usual, expected, counts, CONSTANTS, np.arange(CELLS)))
    return made


@pytest.mark.parametrize(
    ("network", "baseline", "verdict"), [(1.0, 1.6, "better"), (1.6, 1.0, "worse"), (1.0, 1.0, "tie")]
)
def test_verdicts_follow_the_truth(network, baseline, verdict):
    rows = horizon_results(tallies(network, baseline), SPEC, judged=100, seed=0)
    assert [row.horizon for row in rows] == ["1h", "4h", "24h"]
    for row in rows:
        assert row.verdict == verdict
        assert row.difference_low <= row.difference <= row.difference_high
        assert row.baseline_over_actual == pytest.approx(baseline, rel=0.1)
        assert row.forecast_over_actual == pytest.approx(network, rel=0.1)


def test_hits_and_coverage_are_those_counted_cell_by_cell():
    made = tallies(1.3, moments=60)
    random = np.random.default_rng(0)
    caught, actual, inside, values = np.zeros(3), np.zeros(3), np.zeros(3), 0
    for moment in range(60):
        mean = random.gamma(0.5, size=(CELLS, 2, 3)).astype(np.float32) + np.float32(0.01)
        counts = random.poisson(mean)
        expected = (mean * np.float32(1.3 * np.exp(0.01 * random.normal()))).astype(float)
        uniform = np.random.default_rng(moment * 6 * 3600).random(mean.shape)
        for category, horizon in np.ndindex(2, 3):
            of, came = expected[:, category, horizon], counts[:, category, horizon]
            first = np.argsort(-of)[:2]  # 5 % of 30 cells, rounded
            caught[horizon] += came[first].sum()
            actual[horizon] += came.sum()
            r = CONSTANTS.dispersion.r[category, horizon]
            spread = nbinom(r, r / (r + of))
            pit = spread.cdf(came - 1) + uniform[:, category, horizon] * spread.pmf(came)
            inside[horizon] += ((pit >= 0.05) & (pit < 0.95)).sum()
        values += 2 * CELLS
    rows = horizon_results(made, SPEC, judged=100, seed=0)
    np.testing.assert_allclose([row.hit_rate for row in rows], caught / actual)
    np.testing.assert_allclose([row.coverage_90 for row in rows], inside / values)


def test_a_test_block_that_is_too_short_gives_no_verdict():
    rows = horizon_results(tallies(1.0, 1.6, moments=100), SPEC, judged=100, seed=0)
    assert {row.verdict for row in rows} == {"too short"}


def test_fewer_than_a_hundred_incidents_give_no_verdict():
    rows = horizon_results(tallies(1.0, 1.6), SPEC, judged=99, seed=0)
    assert {row.verdict for row in rows} == {"too few"}


def test_calibration_is_the_ratio_of_the_sums():
    made = tallies(1.6)
    for name, ratio in calibration(made, ("fire", "ems"), 2).items():
        category = ("fire", "ems").index(name)
        forecast = sum(tally.forecast[1][category, 2] for tally in made)
        actual = sum(tally.actual[category, 2] for tally in made)
        assert ratio == pytest.approx(forecast / actual)


def result(verdict, gain):
    return HorizonResult(
        horizon="1h", baseline_deviance=1, network_deviance=1, baseline_log_score=0.5, network_log_score=0.5 - gain,
        difference=-gain, difference_low=-gain, difference_high=-gain, forecast_over_actual=1, baseline_over_actual=1,
        coverage_90=0.9, hit_rate=0.3, verdict=verdict,
    )  # fmt: skip


def test_one_horizon_that_gains_is_enough_and_a_worse_network_gains_nothing():
    no, little = result("tie", 0.0), result("tie", 0.5 * 4e-4)
    some, much, lost = result("tie", 0.5 * 6e-4), result("better", 0.5 * 1e-5), result("worse", -0.1)
    assert [gains_nothing(rows) for rows in ([no, little], [no, lost])] == [True, True]
    assert [gains_nothing(rows) for rows in ([no, some], [much, no])] == [False, False]


def test_a_verdict_that_is_not_known_says_what_it_lacks_and_how_much_is_needed():
    """A file of so many days has them: the last 15 % of 200 days are ten blocks of three."""
    (short,) = remarks([result("too short", 0.5), result("too short", 0.5)])
    assert "fewer than 10 blocks of 3 days" in short
    days = int(short.rpartition("at least ")[2].split()[0])
    blocks = Blocks.of(0, days * DAY_S)
    assert (blocks.end_s - blocks.test_s) / (3 * DAY_S) == LEAST_BLOCKS
    (few,) = remarks([result("too few", 0.5)])
    assert few.startswith("too few: fewer than 100 incidents")

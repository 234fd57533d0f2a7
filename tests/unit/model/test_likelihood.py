"""Likelihoods, probabilities, quantiles, scores and tallies against SciPy."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import nbinom, poisson

from models.dispersion import LINEAR, QUADRATIC, Dispersion
from models.likelihood import at_least_one, negative_binomial_nll, predictive_quantile
from models.scoring import score
from models.training.fit_baseline import DISPERSIONS, likeliest_dispersion
from models.training.training_table import tally_of
from tests.harness.toy import toy_constants, toy_spec

MEANS = np.geomspace(1e-6, 300, 60)
COUNTS = np.array([0, 1, 2, 5, 40, 400])
SIZES = np.array([[0.1, 0.5], [3.0, 300.0]])
BOTH = [pytest.param(QUADRATIC, id="quadratic"), pytest.param(LINEAR, id="linear")]
LOG_MEAN = torch.from_numpy(np.log(MEANS))[:, None]
SEEN = torch.from_numpy(COUNTS).double()[None, :]


@pytest.mark.parametrize("size", SIZES.ravel())
def test_negative_binomial_is_scipys(size):
    expected = -nbinom.logpmf(COUNTS, size, size / (size + MEANS[:, None]))
    result = negative_binomial_nll(LOG_MEAN, SEEN, torch.tensor(size).double())
    np.testing.assert_allclose(result, expected, rtol=1e-7, atol=1e-12)


def law_of(mean, dispersion):
    """SciPy's, from the variance alone: m + m**(2 - power) / r."""
    mean = mean.astype(np.float64)
    variance = mean + mean ** (2 - dispersion.power) / dispersion.r
    return nbinom(mean**2 / (variance - mean), mean / variance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("power", [[QUADRATIC] * 3, [LINEAR] * 3, [LINEAR, QUADRATIC, LINEAR]], ids=str)
def test_the_size_of_tensors_is_that_of_arrays_and_of_a_power_to_the_last_bit(power, dtype):
    random = np.random.default_rng(3)
    r, mean = random.gamma(1.0, 2.0, (2, 3)) + 1e-3, random.gamma(0.5, 3.0, (500, 2, 3)) + 1e-9
    dispersion, means = Dispersion(r=r, power=np.array([power, power[::-1]])), torch.from_numpy(mean).to(dtype)
    sizes = dispersion.tensor_size(means)
    assert sizes.dtype == dtype
    np.testing.assert_array_equal(*np.broadcast_arrays(sizes.numpy(), dispersion.size(means.numpy())))
    for place in np.ndindex(2, 3):  # a number to the power of 0 or 1 is exact
        alone, at = dispersion[place].tensor_size(means[:, *place]), means[:, *place]
        expected = torch.tensor(float(r[place]), dtype=dtype) * at ** float(dispersion.power[place])
        assert torch.equal(alone.expand_as(at), expected)
        assert torch.equal(sizes.expand_as(means)[:, *place], expected)


@pytest.mark.parametrize("power", BOTH)
def test_the_probability_of_one_or_more_is_scipys(power):
    mean = np.broadcast_to(MEANS[:, None, None], (60, 2, 2)).astype(np.float32)
    dispersion = Dispersion(r=SIZES, power=np.full((2, 2), power))
    np.testing.assert_allclose(at_least_one(mean, dispersion), law_of(mean, dispersion).sf(0), rtol=4e-6)


@pytest.mark.parametrize("power", BOTH)
def test_a_mean_of_nothing_expects_nothing(power):
    nothing = np.zeros((1, 1, 1), np.float32)
    dispersion = Dispersion(r=np.array([[2.0]]), power=np.array([[power]]))
    assert at_least_one(nothing, dispersion).item() == 0
    assert predictive_quantile(nothing, dispersion, 0.95).item() == 0


@pytest.mark.parametrize("power", BOTH)
@pytest.mark.parametrize("share", [0.05, 0.95])
def test_quantiles_are_scipys_and_near_them_past_the_table(share, power):
    mean = np.broadcast_to(np.geomspace(1e-3, 5000, 300)[:, None, None], (300, 2, 2)).astype(np.float32)
    dispersion = Dispersion(r=SIZES, power=np.full((2, 2), power))
    expected = law_of(mean, dispersion).ppf(share)
    result = predictive_quantile(mean, dispersion, share)
    within = expected < 380
    assert within.mean() > 0.7
    np.testing.assert_array_equal(result[within], expected[within])
    assert (np.abs(result - expected) <= 0.03 * expected + 1)[~within].all()


CELLS = 30
SPEC = toy_spec(5, 6)
R = np.array([[0.5, 1.0, 2.0], [3.0, 30.0, 300.0]])
CONSTANTS = toy_constants(SPEC, dispersion=Dispersion(r=R, power=np.array([[0.0, 1, 0], [1, 0, 1]])))


@pytest.mark.parametrize("factor", [None, (0.4, 1.0, 2.7)], ids=["one for the region", "one for each cell"])
def test_scores_are_those_of_scipys_negative_binomial(factor):
    random = np.random.default_rng(0)
    values = random.normal(size=(CELLS, 2, len(SPEC.features))).astype(np.float32)
    constants, r = CONSTANTS, R
    if factor:
        of_cell = random.choice(factor, (CELLS, 2, 3))
        constants, r = replace(CONSTANTS, cell_dispersion=of_cell), of_cell * R
    scores = score(values, None, constants, SPEC)
    mean = scores.expected.astype(np.float64)
    law = law_of(mean, Dispersion(r=r, power=CONSTANTS.dispersion.power))
    np.testing.assert_allclose(scores.risk, law.sf(0), rtol=1e-5)
    np.testing.assert_array_equal(scores.low, law.ppf(0.05))
    np.testing.assert_array_equal(scores.high, law.ppf(0.95))


def test_a_tally_is_scipys_log_likelihood_over_all_cells():
    random = np.random.default_rng(1)
    usual = random.gamma(1.0, size=(CELLS, 2, 3)).astype(np.float32)
    counts = random.poisson(usual).astype(np.int32)
    tallied = tally_of(0, usual, 2 * usual, counts, CONSTANTS, np.arange(CELLS))
    for side, mean in enumerate((usual.astype(np.float64), 2 * usual.astype(np.float64))):
        expected = -law_of(mean, CONSTANTS.dispersion).logpmf(counts).sum(axis=0)
        np.testing.assert_allclose(tallied.log_score[side], expected, rtol=1e-6)
        saturated = poisson.logpmf(counts, np.maximum(counts, 1e-300))
        deviance = 2 * (saturated - poisson.logpmf(counts, mean)).sum(axis=0)
        np.testing.assert_allclose(tallied.deviance[side], deviance, rtol=1e-6)


def test_the_dispersion_of_very_many_counts_is_the_one_under_which_all_of_them_are_likeliest():
    """25 x 24 cells, hour after hour, with two quiet western columns: every 24th count is of the quietest one."""
    random = np.random.default_rng(5)
    hours, rows, cols = 1_000, 25, 24
    mean = np.broadcast_to(np.where(np.arange(cols) < 2, 1e-3, 0.05), (hours, rows, cols)).reshape(-1)
    counts = random.negative_binomial(0.5, 0.5 / (0.5 + mean))
    log_mean = torch.tensor(np.log(mean))[:, None, None]
    likeliest = likeliest_dispersion(log_mean, torch.tensor(counts)[:, None, None])
    sizes = DISPERSIONS[(DISPERSIONS > 0.3) & (DISPERSIONS < 0.9)]
    times = {level: np.bincount(counts[mean == level]) for level in (1e-3, 0.05)}  # of each count, from 0
    surprise = [
        -sum(n @ nbinom.logpmf(np.arange(len(n)), size, size / (size + level)) for level, n in times.items())
        for size in sizes
    ]
    assert (likeliest.r.item(), likeliest.power.item()) == (sizes[int(np.argmin(surprise))], QUADRATIC)


def test_repeated_reports_of_each_incident_have_a_linear_dispersion():
    """A Poisson number of incidents, each with a logarithmic number of reports: Quenouille, Biometrics 5, 1949."""
    random = np.random.default_rng(7)
    mean, r = random.gamma(0.5, 0.3, 400_000) + 1e-4, 2.0
    incidents = random.poisson(mean * r * np.log1p(1 / r))
    reports = np.zeros(len(mean), np.int64)
    np.add.at(reports, np.repeat(np.arange(len(mean)), incidents), random.logseries(1 / (1 + r), incidents.sum()))
    log_mean = torch.tensor(np.log(mean))[:, None, None]
    likeliest = likeliest_dispersion(log_mean, torch.tensor(reports)[:, None, None])
    assert likeliest.power.item() == LINEAR
    assert likeliest.r.item() == pytest.approx(r, rel=0.2)

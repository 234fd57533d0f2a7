"""Paired comparisons and confidence sequences: against plain loops, numerical integration and simulated truths."""

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.integrate import quad
from scipy.signal import lfilter
from scipy.stats import norm, ttest_1samp
from scipy.stats import t as student

from models import comparison
from models.comparison import (
    LEAST_JUDGED,
    MOST_ALIKE,
    RESAMPLES,
    TUNED_FOR,
    block_bootstrap,
    boundary,
    bounds_of,
    day_blocks,
    difference_of,
    levels,
    neighbours_correlate,
    verdict,
)

VALUES = 50


def test_the_interval_is_that_of_whole_blocks_put_together():
    random = np.random.default_rng(0)
    per_step, block = random.normal(size=(3, 40)), np.repeat(np.arange(12), [1, 5, 3, 3, 3, 3, 3, 3, 3, 3, 9, 1])
    apart = per_step.mean(axis=0) + (per_step - per_step.mean(axis=0)) * np.sqrt(3 / 2)
    means = []
    for _ in range(RESAMPLES):
        drawn = random.integers(0, 12, 12)
        steps = np.concatenate([np.flatnonzero(block == number) for number in drawn])
        means.append(apart[random.integers(0, 3, 3)][:, steps].mean())
    low, high = block_bootstrap(per_step, block, np.random.default_rng(3))
    assert (low, high) == pytest.approx(tuple(np.percentile(means, levels(12))), abs=0.04)


@pytest.mark.parametrize(
    ("steps_per_week", "expected"),
    [(168, [72, 72, 56]), (28, [12] * 16 + [8]), (7, [3] * 66 + [2]), (1, [1] * 200)],
)
def test_blocks_are_runs_of_days_and_none_reaches_from_one_stretch_into_the_next(steps_per_week, expected):
    block = day_blocks(200, steps_per_week=steps_per_week)
    assert np.bincount(block).tolist() == expected
    assert (np.diff(block) >= 0).all()
    assert day_blocks(7, 2, 4, steps_per_week=7).tolist() == [0, 0, 0, 1, 1, 1, 2, 3, 3, 4, 4, 4, 5]


def scores(shift, days=60):
    """(1, days) sums of a rival, and of a model that is `shift` nats per value from it, give or take."""
    random = np.random.default_rng(5)
    rival = random.normal(30, 3, (1, days))
    return rival + VALUES * (shift + random.normal(0, 0.01, (1, days))), rival


def compared(model, rival):
    per_step, block = (model - rival) / VALUES, day_blocks(model.shape[1], steps_per_week=7)
    return difference_of(per_step, block, np.random.default_rng(0), judged=LEAST_JUDGED)


@pytest.mark.parametrize(("shift", "word"), [(-0.01, "better"), (0.01, "worse"), (0.0, "tie")])
def test_verdicts_follow_the_truth(shift, word):
    model, rival = scores(shift)
    result = compared(model, rival)
    assert result.verdict == word
    assert result.blocks == 20
    assert result.mean == pytest.approx((model.sum() - rival.sum()) / (60 * VALUES))
    assert result.low < result.mean < result.high
    mirrored = compared(rival, model)
    assert (mirrored.mean, mirrored.low, mirrored.high) == pytest.approx((-result.mean, -result.high, -result.low))


def test_zero_in_the_interval_is_a_tie_few_blocks_are_too_short_and_few_incidents_too_few():
    verdicts = [verdict(low, high, 10, 100) for low, high in ((-1, 0), (0, 1), (-1, -0.1), (0.1, 1))]
    assert verdicts == ["tie", "tie", "better", "worse"]
    assert verdict(-1, -1, 9, 100) == "too short"
    assert [verdict(-1, -1, blocks, 99) for blocks in (9, 10)] == ["too few", "too few"]
    model, _ = scores(0.0)
    result = compared(model, model)
    assert (result.low, result.high, result.verdict) == (0, 0, "tie")
    for days, word in ((27, "too short"), (28, "better")):
        assert compared(*scores(-0.05, days)).verdict == word


@pytest.fixture
def fewer_resamples(monkeypatch):
    """How wide hundreds of intervals are on average needs no exact edge of each."""
    monkeypatch.setattr(comparison, "RESAMPLES", 2_000)


@pytest.mark.usefixtures("fewer_resamples")
@pytest.mark.parametrize("blocks", [10, 30])
def test_95_of_100_intervals_hold_the_truth_also_where_blocks_are_few(blocks):
    """The blocks are skewed, as a log score's are; the t interval of the same blocks stands beside them."""
    random, held, held_by_t = np.random.default_rng(blocks), 0, 0
    for _ in range(250):
        per_step = random.gamma(4.0, 0.5, blocks) - 2
        low, high = block_bootstrap(per_step[None], np.arange(blocks), random)
        interval = ttest_1samp(per_step, 0).confidence_interval()
        held += low <= 0 <= high
        held_by_t += interval.low <= 0 <= interval.high
    assert held / 250 == pytest.approx(0.95, abs=0.04)
    assert held >= held_by_t - 6


@given(arrays(np.float64, st.integers(3, 40), elements=st.floats(-5, 5)))
def test_the_correlation_of_neighbours_is_that_of_a_loop(per_block):
    apart = per_block - per_block.mean()
    spread = sum(value * value for value in apart)
    assert neighbours_correlate(np.ones(len(per_block))) == 0
    assume(spread > 1e-9)
    expected = sum(apart[n] * apart[n + 1] for n in range(len(apart) - 1)) / spread
    assert neighbours_correlate(per_block) == pytest.approx(expected, abs=1e-9)


@pytest.mark.usefixtures("fewer_resamples")
@pytest.mark.parametrize(("alike", "least"), [(0.0, 0.92), (0.4, 0.87)])
def test_intervals_hold_the_truth_also_where_good_and_bad_weeks_follow_each_other(alike, least):
    """Plain ones of such blocks hold it in some 80 of 100 cases."""
    random, held, held_by_plain = np.random.default_rng(7), 0, 0
    for _ in range(250):
        per_block = lfilter([1.0], [1.0, -alike], random.normal(size=80))[50:]
        widened = difference_of(per_block[None], np.arange(30), random, judged=LEAST_JUDGED)
        low, high = block_bootstrap(per_block[None], np.arange(30), random)
        held += widened.low <= 0 <= widened.high
        held_by_plain += low <= 0 <= high
    assert held / 250 >= least
    assert held >= held_by_plain
    if alike:
        assert held_by_plain / 250 < 0.85


def correlated(random, paths, days, phi):
    """(paths, days) noise of mean 0 and deviation 1 whose neighbours correlate by `phi`, with heavy tails."""
    fresh = student.rvs(5, size=(paths, days + 50), random_state=random) / np.sqrt(5 / 3) * np.sqrt(1 - phi**2)
    noise = np.zeros_like(fresh)
    for day in range(1, days + 50):
        noise[:, day] = phi * noise[:, day - 1] + fresh[:, day]
    return noise[:, 50:]


@given(arrays(np.float64, st.integers(3, 40), elements=st.floats(-1, 1, width=16)), st.sampled_from([0.01, 0.05, 0.2]))
@example(np.array([0.0, 1.00135803e-05, 1.00135803e-05]), 0.01)  # hardly apart
@example(np.full(40, 0.1), 0.05)  # equal, and no sum of them is exact
def test_equals_a_plain_loop(days, alpha):
    result = bounds_of(days, alpha=alpha)
    assert np.isinf(result.upper[:2]).all()  # the first days say nothing
    for n in range(3, len(days) + 1):
        so_far = days[:n]
        apart = so_far - so_far.mean()
        squares = float((apart**2).sum())
        r = float((apart[1:] * apart[:-1]).sum()) / squares if squares > 0 else 0.0
        alike = min(max(r + (1 + 3 * r) / n, 0.0), MOST_ALIKE)
        radius = np.std(so_far, ddof=1) * np.sqrt((1 + alike) / (1 - alike)) * boundary(np.array([n]), alpha=alpha)[0]
        assert result.mean[n - 1] == pytest.approx(so_far.mean(), abs=1e-12)
        assert result.upper[n - 1] - result.mean[n - 1] == pytest.approx(radius, rel=1e-9, abs=1e-12)
        assert result.mean[n - 1] - result.lower[n - 1] == pytest.approx(radius, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("alpha", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("n", [1, 14, 60, 3000])
def test_on_the_boundary_the_mixture_has_reached_its_level(n, alpha):
    """Integrated numerically: the likelihood ratio, averaged over half-normal drifts, is at least 1 / alpha there."""
    total = n * boundary(np.array([n]), alpha=alpha)[0]
    twice = -2 * np.log(2 * alpha)
    rho = np.sqrt((twice + np.log(twice + 1)) / TUNED_FOR)
    peak = total * rho**2 / (n * rho**2 + 1)
    width = rho / np.sqrt(n * rho**2 + 1)

    def weighed(drift):
        return np.exp(drift * total - drift**2 * n / 2 - np.log(1 / alpha)) * 2 * norm.pdf(drift, scale=rho)

    mixture = quad(weighed, 0, peak + 20 * width, points=[peak], limit=200)[0]
    assert 1 <= mixture < 1.2  # in units of 1 / alpha: reached, and not by much


@pytest.mark.parametrize("phi", [0.0, 0.3])
def test_an_equal_challenger_that_is_looked_at_daily_is_wrongly_called_better_in_at_most_five_of_a_hundred(phi):
    random, paths, days, first = np.random.default_rng(7), 2000, 120, 14
    noise = correlated(random, paths, days, phi)
    upper = bounds_of(noise, alpha=0.05).upper[:, first - 1 :]
    wrong = float((upper < 0).any(axis=1).mean())
    assert wrong <= 0.05

    number = np.arange(1, days + 1)
    mean = np.cumsum(noise, axis=1) / number
    deviation = np.sqrt(
        np.maximum(np.cumsum(noise**2, axis=1) / number - mean**2, 0) * number / np.maximum(number - 1, 1)
    )
    daily = mean + student.ppf(0.975, np.maximum(number - 1, 1)) * deviation / np.sqrt(number)
    naive = float((daily[:, first - 1 :] < 0).any(axis=1).mean())
    assert naive > 0.10  # what the sequence is for

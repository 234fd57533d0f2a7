"""Paired comparisons: the interval is that of whole blocks drawn, and verdicts follow the truth."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.signal import lfilter
from scipy.stats import ttest_1samp

from models import comparison
from models.comparison import (
    RESAMPLES,
    block_bootstrap,
    compare,
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
def test_blocks_are_runs_of_days(steps_per_week, expected):
    block = day_blocks(200, steps_per_week=steps_per_week)
    assert np.bincount(block).tolist() == expected
    assert (np.diff(block) >= 0).all()


def test_no_block_reaches_from_one_stretch_into_the_next():
    block = day_blocks(7, 2, 4, steps_per_week=7)
    assert block.tolist() == [0, 0, 0, 1, 1, 1, 2, 3, 3, 4, 4, 4, 5]


def scores(shift, days=60):
    """(1, days) sums of a rival, and of a model that is `shift` nats per value from it, give or take."""
    random = np.random.default_rng(5)
    rival = random.normal(30, 3, (1, days))
    return rival + VALUES * (shift + random.normal(0, 0.01, (1, days))), rival


def compared(model, rival):
    return compare(model, rival, values=VALUES, steps_per_week=7, random=np.random.default_rng(0))


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


@pytest.mark.parametrize(("days", "word"), [(27, "too short"), (28, "better")])
def test_fewer_than_ten_blocks_give_no_verdict(days, word):
    model, rival = scores(-0.05, days)
    assert compared(model, rival).verdict == word


def test_a_model_ties_with_itself():
    model, _ = scores(0.0)
    result = compared(model, model)
    assert (result.low, result.high, result.verdict) == (0, 0, "tie")


def test_an_interval_that_touches_zero_is_a_tie():
    verdicts = [verdict(low, high, 10) for low, high in ((-1, 0), (0, 1), (-1, -0.1), (0.1, 1))]
    assert verdicts == ["tie", "tie", "better", "worse"]
    assert verdict(-1, -1, 9) == "too short"


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
    assume(spread > 1e-9)
    expected = sum(apart[n] * apart[n + 1] for n in range(len(apart) - 1)) / spread
    assert neighbours_correlate(per_block) == pytest.approx(expected, abs=1e-9)


def test_equal_blocks_do_not_correlate():
    assert neighbours_correlate(np.ones(20)) == 0


@pytest.mark.usefixtures("fewer_resamples")
@pytest.mark.parametrize(("alike", "least"), [(0.0, 0.92), (0.4, 0.87)])
def test_intervals_hold_the_truth_also_where_good_and_bad_weeks_follow_each_other(alike, least):
    """Plain ones of such blocks hold it in some 80 of 100 cases."""
    random, held, held_by_plain = np.random.default_rng(7), 0, 0
    for _ in range(250):
        per_block = lfilter([1.0], [1.0, -alike], random.normal(size=80))[50:]
        widened = difference_of(per_block[None], np.arange(30), random)
        low, high = block_bootstrap(per_block[None], np.arange(30), random)
        held += widened.low <= 0 <= widened.high
        held_by_plain += low <= 0 <= high
    assert held / 250 >= least
    assert held >= held_by_plain
    if alike:
        assert held_by_plain / 250 < 0.85

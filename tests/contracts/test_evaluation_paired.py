"""Paired comparisons: the interval is that of whole blocks drawn, and verdicts follow the truth."""

import numpy as np
import pytest

from models.evaluation.paired import LEVELS, RESAMPLES, block_bootstrap, compare, day_blocks, verdict

VALUES = 50


def test_the_interval_is_that_of_whole_blocks_put_together():
    random = np.random.default_rng(0)
    per_step, block = random.normal(size=40), np.repeat(np.arange(12), [1, 5, 3, 3, 3, 3, 3, 3, 3, 3, 9, 1])
    draws = np.random.default_rng(3).integers(0, 12, (RESAMPLES, 12))
    pieces = [per_step[block == number] for number in range(12)]
    means = [np.concatenate([pieces[number] for number in draw]).mean() for draw in draws]
    assert block_bootstrap(per_step, block, np.random.default_rng(3)) == pytest.approx(np.percentile(means, LEVELS))


def test_the_interval_is_as_wide_as_the_days_differ_not_as_the_hours_are_many():
    days = np.random.default_rng(0).normal(size=400)
    hours = np.repeat(days, 24)
    low, high = block_bootstrap(hours, day_blocks(9600, steps_per_week=168, block_days=1), np.random.default_rng(1))
    assert high - low == pytest.approx(2 * 1.96 * days.std() / 20, rel=0.1)


@pytest.mark.parametrize(
    ("steps_per_week", "block_days", "expected"),
    [(168, 3, [72, 72, 56]), (7, 3, [3] * 66 + [2]), (28, 1, [4] * 50), (1, 3, [1] * 200)],
)
def test_blocks_are_runs_of_days(steps_per_week, block_days, expected):
    block = day_blocks(200, steps_per_week=steps_per_week, block_days=block_days)
    assert np.bincount(block).tolist() == expected
    assert (np.diff(block) >= 0).all()


def scores(shift, days=60):
    """(days,) sums of a rival, and of a model that is `shift` nats per value from it, give or take."""
    random = np.random.default_rng(5)
    rival = random.normal(30, 3, days)
    return rival + VALUES * (shift + random.normal(0, 0.01, days)), rival


@pytest.mark.parametrize(("shift", "word"), [(-0.01, "better"), (0.01, "worse"), (0.0, "tie")])
def test_verdicts_follow_the_truth(shift, word):
    model, rival = scores(shift)
    result = compare(model, rival, values=VALUES, steps_per_week=7, random=np.random.default_rng(0))
    assert result.verdict == word
    assert result.blocks == 20
    assert result.mean == pytest.approx((model.sum() - rival.sum()) / (60 * VALUES))
    assert result.low < result.mean < result.high
    mirrored = compare(rival, model, values=VALUES, steps_per_week=7, random=np.random.default_rng(0))
    assert (mirrored.mean, mirrored.low, mirrored.high) == pytest.approx((-result.mean, -result.high, -result.low))


@pytest.mark.parametrize(("days", "word"), [(27, "too short"), (28, "better")])
def test_fewer_than_ten_blocks_give_no_verdict(days, word):
    model, rival = scores(-0.05, days)
    assert compare(model, rival, values=VALUES, steps_per_week=7, random=np.random.default_rng(0)).verdict == word


def test_a_model_ties_with_itself():
    model, _ = scores(0.0)
    result = compare(model, model, values=VALUES, steps_per_week=7, random=np.random.default_rng(0))
    assert (result.low, result.high, result.verdict) == (0, 0, "tie")


def test_an_interval_that_touches_zero_is_a_tie():
    assert [verdict(-1, 0, 10), verdict(0, 1, 10), verdict(-1, -0.1, 10), verdict(0.1, 1, 10), verdict(-1, -1, 9)] == [
        "tie",
        "tie",
        "better",
        "worse",
        "too short",
    ]

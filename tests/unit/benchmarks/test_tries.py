"""What is tried knows only the past, and its table is the paired difference over all origins."""

import numpy as np
import pytest
import torch

from benchmarks.aging import Aged, _by_weeks, _fitted_again, aging_of
from benchmarks.tries.collected import collect_task
from benchmarks.tries.columns import CANDIDATES, Past
from benchmarks.tries.judged import Tries
from benchmarks.tries.table import compared
from models.evaluation.product import history_of, spec_of
from tests.harness.small_task import small_task
from tests.harness.toy import toy_constants


@pytest.fixture(scope="module")
def task():
    return small_task()[0]


@pytest.mark.parametrize("family", CANDIDATES)
def test_a_candidate_does_not_change_with_what_comes_later(task, family):
    spec = spec_of(task)
    at_s = int(task.cube.starts_s[200])
    known, all_of_it = (
        Past.of(history_of(task, spec, end_s), toy_constants(spec), "US-IL")
        for end_s in (at_s, int(task.cube.starts_s[-1]))
    )
    found = CANDIDATES[family](all_of_it, at_s)
    assert found.shape[:2] == (20, 2)
    np.testing.assert_array_equal(found, CANDIDATES[family](known, at_s))
    assert np.isfinite(found).all()


def test_christmas_is_a_holiday_and_the_day_before_it_is_its_eve(task):
    spec = spec_of(task)
    past = Past.of(history_of(task, spec, int(task.cube.starts_s[-1])), toy_constants(spec), "US-IL")
    eve_s = 1_451_001_600  # 2015-12-25 00:00 UTC
    for days, expected in ((-1, [0, 1, 0]), (0, [1, 0, 0]), (1, [0, 0, 1])):
        assert CANDIDATES["holidays"](past, eve_s + days * 86_400)[0, 0].tolist() == expected


@pytest.mark.long
def test_every_try_is_scored_on_the_judged_steps(task):
    torch.set_num_threads(1)
    tries = Tries(data=collect_task(task, country="US-IL"), seeds=(0, 1), epochs=1).all()
    found = {name: scores() for name, scores in tries.items()}
    assert set(CANDIDATES) < set(found)
    steps = len(task.cube) - task.test
    assert {scores.shape[1] for scores in found.values()} == {steps}
    assert found["network"].shape == (2, steps)
    assert found["baseline"].mean() > found["network"].mean()  # the town has good and bad weeks
    best = min(found[name].mean() for name in ("network", "Poisson GLM", "gradient boosting"))
    assert found["equal pool of GLM, boosting, network"].mean() < best + 0.01


def test_a_try_is_compared_with_the_network_on_the_steps_of_all_origins():
    random = np.random.default_rng(0)
    network = [random.normal(1, 0.1, (2, 60)) for _ in range(3)]
    better = [one.mean(axis=0, keepdims=True) - 0.02 for one in network]
    each = [{"network": one, "better": other} for one, other in zip(network, better, strict=True)]
    found = compared(each, 7)["better"]
    mean = np.concatenate([one.mean(axis=0) for one in network]).mean()
    assert found["mean"] == pytest.approx(-2 / mean, abs=1e-4)
    assert found["verdict"] == "better"
    assert found["low"] == pytest.approx(found["high"])


def test_age_costs_what_an_older_model_loses_on_the_same_steps(task):
    block = len(task.cube) - task.test
    worse = 0.001 * (np.arange(3 * block) // 28)  # with every four weeks
    newest = np.ones(3 * block)
    each = [
        Aged(network=(newest + worse)[: (3 - number) * block], again=newest[: (3 - number) * block], baseline=newest)
        for number in range(3)
    ]
    rows = {row["from_week"]: row["network"]["mean"] for row in _by_weeks(each, task, block)}
    assert list(rows) == sorted(rows) == list(range(8, 26, 4))
    assert rows[20] > rows[8] > 0
    assert _fitted_again(each, task, block)["mean"] < 0


@pytest.mark.long
def test_ages_of_a_town_are_judged_until_its_file_ends(monkeypatch):
    torch.set_num_threads(1)
    town, _ = small_task(days=420)
    monkeypatch.setattr("benchmarks.aging.TASKS", {"small": (lambda path: town, None)})
    found = aging_of("small", seeds=(0,), epochs=1, tell=lambda what: None)
    assert found["block_days"] == 60
    assert [row["from_week"] for row in found["by_weeks"]] == list(range(8, 26, 4))

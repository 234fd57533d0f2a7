"""The simulated rates of the gate: its promises hold, and a plain interval breaks them."""

import numpy as np
import pytest

from benchmarks.gate import first_day, paths_of, simulate
from lifecycle.gate.plan import GatePlan


@pytest.fixture(scope="module")
def rates():
    return simulate(paths=1000, seed=3)


def test_noise_has_the_deviation_and_correlation_that_it_is_named_by():
    noise = paths_of(np.random.default_rng(0), paths=4000, days=60, correlation=0.3)
    assert noise.std() == pytest.approx(1, abs=0.02)
    assert np.corrcoef(noise[:, 30], noise[:, 31])[0, 1] == pytest.approx(0.3, abs=0.05)


def test_an_equal_challenger_is_called_better_in_at_most_five_of_a_hundred_shadows(rates):
    equal = [one for one in rates["superiority"] if one["mean"] == 0]
    by_sequence = [one["called_better"] for one in equal if one["rule"] == "confidence sequence"]
    naive = [one["called_better"] for one in equal if one["rule"] == "daily t interval"]
    assert max(by_sequence) <= 0.06  # 0.05 and two deviations of 1,000 paths are 0.064
    assert max(naive) > 0.2


def test_one_at_the_margin_passes_in_at_most_five_of_a_hundred(rates):
    at_margin = [one["promoted"] for one in rates["gate"] if one["mean"] == one["margin"]]
    assert max(at_margin) <= 0.06


def test_an_equal_one_passes_mostly_and_a_worse_one_is_stopped(rates):
    by = {(one["correlation"], one["margin"], one["mean"]): one for one in rates["gate"]}
    assert by[0.3, 0.73, 0.0]["promoted"] > 0.85
    assert by[0.3, 0.73, 0.73]["stopped"] > 0.85


def test_the_first_day_counts_from_the_plans_first_to_its_last():
    decided = np.zeros((3, 100), bool)
    decided[0, 12] = True  # day 13, before the first
    decided[1, [13, 20]] = True
    decided[2, 60] = True  # day 61
    assert first_day(decided, GatePlan()).tolist() == [0, 14, 0]

"""Coverage before a trial, against plain sums and known distributions: what refuses, and what is said to be unknown."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import nbinom

from models.dispersion import Dispersion
from models.gate.coverage import CoverageTally, coverage_faults, coverage_remarks, enough_values
from models.gate.plan import GatePlan
from models.measures.outcomes import Forecast
from tests.harness.toy import toy_spec

PLAN = GatePlan()
SPEC = toy_spec()
HOUR_S, START_S = 3600, 1_764_028_800  # midnight, UTC


class Past:
    """Counts drawn for each hour and horizon, and who was asked."""

    def __init__(self, mean, size, hours, seed=0):
        self.spec, self.cutoff_s = SPEC, START_S + hours * HOUR_S
        self.mean, self.size, self.random = mean, size, np.random.default_rng(seed)
        self.asked, self.cut_s = [], None

    def cut_spans(self, start_s, stop_s):
        return [self.cut_s] if self.cut_s is not None and start_s <= self.cut_s < stop_s else []

    def counts(self, start_s, stop_s):
        self.asked.append((start_s, stop_s))
        shape = (SPEC.grid.cells, len(SPEC.categories))
        mean = self.mean * (stop_s - start_s) / HOUR_S
        return nbinom.rvs(self.size, self.size / (self.size + mean), size=shape, random_state=self.random).astype(
            np.int32
        )


def tallied(mean, size, *, said_mean=None, said_size=None, hours=24 * 14, cut_s=None):
    """Coverage of a forecast by `mean` incidents an hour and cell, while the truth is another one or not."""
    past = Past(mean, size, hours)
    past.cut_s = cut_s
    tally = CoverageTally(past)
    hourly = np.array(SPEC.horizons_s) / HOUR_S
    shape = (SPEC.grid.cells, len(SPEC.categories), len(hourly))
    expected = np.broadcast_to(np.float32(hourly * (said_mean or mean)), shape)
    dispersion = Dispersion.quadratic(np.full(shape[1:], said_size or size))
    for hour in range(hours):
        spreads = {"dispersion": dispersion, "usual_dispersion": dispersion}
        tally.add(Forecast(model="new", expected=expected, usual=expected, **spreads), START_S + hour * HOUR_S)
    return past, tally.coverage()


def test_forecasts_that_are_right_hold_nine_of_ten_and_are_not_refused():
    _, found = tallied(2.0, 3.0)
    assert [one.horizon for one in found] == list(SPEC.horizon_names)
    for one in found:
        assert one.share == pytest.approx(0.9, abs=4 * np.sqrt(0.09 / one.values))
        assert (one.busy_values, one.busy_share) == (one.values, one.share)
    assert list(coverage_faults(found, PLAN)) == []


def test_only_forecasts_that_do_not_overlap_and_have_ended_count():
    past, found = tallied(2.0, 3.0, hours=30)
    ends = {}
    for start_s, stop_s in past.asked:
        assert start_s >= ends.get(stop_s - start_s, START_S)
        ends[stop_s - start_s] = stop_s
        assert stop_s <= past.cutoff_s
    cells = SPEC.grid.cells * len(SPEC.categories)
    assert [one.values for one in found] == [30 * HOUR_S // horizon_s * cells for horizon_s in SPEC.horizons_s]


def test_no_horizon_counts_that_has_an_hour_without_sound_counts():
    cells = SPEC.grid.cells * len(SPEC.categories)
    _, found = tallied(2.0, 3.0, hours=48, cut_s=START_S + 25 * HOUR_S)
    assert [one.values for one in found] == [(48 * HOUR_S // horizon_s - 1) * cells for horizon_s in SPEC.horizons_s]


@pytest.mark.parametrize(
    ("size", "said"),
    [(1.0, {"said_size": 1000.0}), (5.0, {"said_mean": 6.0}), (1.0, {"said_mean": 0.9, "said_size": 50.0})],
)
def test_intervals_that_are_too_narrow_or_elsewhere_are_refused(size, said):
    _, found = tallied(2.0, size, **said)
    faults = list(coverage_faults(found, PLAN))
    assert any(f"its 90 % intervals of {SPEC.horizon_names[0]} hold" in fault for fault in faults)


def test_intervals_that_are_too_wide_are_refused():
    _, found = tallied(5.0, 200.0, said_size=1.0)
    assert all(one.share > 0.97 for one in found)
    assert len(list(coverage_faults(found, PLAN))) == 2 * len(found)


def test_where_nearly_nothing_happens_the_share_says_little_and_that_is_said():
    _, found = tallied(0.001, 1.0, said_mean=0.003, hours=24 * 3)  # three times too much
    assert found[0].share == pytest.approx(0.9, abs=0.05)
    assert list(coverage_faults(found, PLAN)) == []
    remarks = list(coverage_remarks(found, PLAN))
    assert len(remarks) == len(found)
    assert f"there are 0 such counts, and {enough_values(PLAN)} are needed" in remarks[0]


def test_enough_is_where_chance_stays_inside_what_is_allowed():
    values = enough_values(PLAN)
    assert 2 * np.sqrt(0.09 / values) <= PLAN.coverage < 2 * np.sqrt(0.09 / (values - 1))


def test_chance_seldom_refuses_one_that_is_right():
    """At the least number of values, where chance is largest."""
    values = enough_values(PLAN)
    _, (one, *_) = tallied(2.0, 3.0, hours=24)
    shares = np.random.default_rng(3).binomial(values, 0.9, 10_000) / values
    few = [replace(one, share=share, values=values, busy_values=0) for share in shares]
    assert len(list(coverage_faults(few, PLAN))) < 10

"""The whole simulated year, as `make year` lives it: minutes.

The bounds were set after one run had been seen, which lost 0.028, 0.324, 0.156 and 0.066 nats an incident: before the
change, until the promotion, after it, and at the year's end.
"""

import pytest

from benchmarks.year import Year, simulate

pytestmark = pytest.mark.nightly


@pytest.fixture(scope="module")
def regions():
    return simulate(Year())["regions"]


def due(region):
    return [happening["why"] for happening in region["happenings"] if happening["what"] == "due"]


def test_drift_is_seen_a_challenger_is_promoted_and_most_of_the_skill_is_back(regions):
    moved = regions["moved"]
    summary, change = moved["summary"], moved["change_day"]
    assert change < summary["drift_seen_day"] <= change + 28
    assert summary["drift_seen_day"] < summary["promoted_day"] <= change + 90
    cost = summary["lost_between"] - summary["lost_before"]
    assert cost > 0.15
    assert summary["lost_after"] < summary["lost_before"] + 0.7 * cost
    assert summary["lost_last"] < summary["lost_before"] + 0.3 * cost


def test_the_quiet_region_sees_no_drift_and_loses_nothing_by_its_promotions(regions):
    quiet = regions["quiet"]
    assert all("its data end" in why and "observed over" not in why for why in due(quiet))
    assert quiet["summary"]["promoted"] >= 1
    assert quiet["summary"]["lost_last"] < quiet["summary"]["lost_first"] + 0.02


def test_the_bad_challenger_is_refused_and_in_a_forced_trial_stopped(regions):
    refused, forced, ended = regions["quiet"]["summary"]["bad"]
    assert (refused["what"], forced["what"], ended["what"]) == ("refused", "trial", "stop")
    assert "its log score is worse" in refused["why"]

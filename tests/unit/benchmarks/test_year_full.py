"""The whole simulated year, as `make year` lives it: minutes.

The bounds of what is followed are goals that were set before a run was seen.
"""

import pytest

from benchmarks.year import Year, simulate

pytestmark = pytest.mark.nightly


@pytest.fixture(scope="module")
def regions():
    return simulate(Year())["regions"]


def due(region):
    return [happening["why"] for happening in region["happenings"] if happening["what"] == "due"]


def test_the_change_is_followed_long_before_a_challenger_that_knows_it_is_promoted(regions):
    moved = regions["moved"]
    summary, change = moved["summary"], moved["change_day"]
    assert change < summary["drift_seen_day"] < summary["promoted_day"]
    shown, alone = summary["lost_by_week"]
    assert shown[1] < 0.35 * alone[1]
    assert all(week < 0.25 * without for week, without in zip(shown[2:], alone[2:], strict=True))
    assert summary["lost_between"] < 0.3 * 0.3205  # what the change cost before forecasts followed
    assert summary["lost_last"] < summary["lost_before"] + 0.02


def test_the_quiet_region_sees_no_drift_and_loses_nothing_by_its_promotions(regions):
    quiet = regions["quiet"]
    assert all("its data end" in why and "observed over" not in why for why in due(quiet))
    assert quiet["summary"]["promoted"] >= 1
    assert quiet["summary"]["lost_last"] < quiet["summary"]["lost_first"] + 0.02


def test_the_bad_challenger_is_refused_and_in_a_forced_trial_stopped(regions):
    refused, forced, ended = regions["quiet"]["summary"]["bad"]
    assert (refused["what"], forced["what"], ended["what"]) == ("refused", "trial", "stop")
    assert "its log score is worse" in refused["why"]

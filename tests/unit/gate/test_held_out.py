"""What speaks against a trial: a challenger that could not pass it is not tried, and chance alone keeps none out."""

from models.gate.held_out import faults_of
from models.gate.plan import GatePlan
from models.gate.shadow_day import ShadowDay
from models.measures.paired import Difference

ALIKE = Difference(mean=0.0, low=-1e-5, high=1e-5, blocks=28, correlation=0.0, verdict="tie")


def faults(*, observed, champion, challenger, days=28):
    """Of days with these incidents, all alike."""
    one = ShadowDay(
        day="2024-01-01",
        weekday=1,
        hours=24,
        values=1000,
        champion=100.0,
        challenger=100.0,
        baseline=101.0,
        observed={"ems": observed},
        champion_expected={"ems": champion},
        challenger_expected={"ems": challenger},
    )
    return list(faults_of(ALIKE, 1e-3, [one] * days, GatePlan()))


def test_one_that_fits_may_be_tried():
    assert faults(observed=100, champion=100.0, challenger=98.0) == []


def test_one_that_knows_as_little_of_a_change_as_the_champion_is_not_tried():
    assert faults(observed=130, champion=100.0, challenger=101.0) == ["observed over expected is 1.29 in ems"]
    assert faults(observed=75, champion=100.0, challenger=99.0) == ["observed over expected is 0.76 in ems"]


def test_one_that_is_off_and_further_than_the_champion_is_not_tried():
    assert faults(observed=112, champion=104.0, challenger=100.0) == ["observed over expected is 1.12 in ems"]


def test_chance_in_a_small_category_keeps_none_out():
    assert faults(observed=5, champion=4.1, challenger=4.2) == []  # 140 incidents: 1.19, and the champion 1.22

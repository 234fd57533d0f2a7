"""What speaks against a trial: a challenger that could not pass it is not tried, and chance alone keeps none out."""

from lifecycle.gate.held_out import faults_of, judge_held_out
from lifecycle.gate.plan import GatePlan
from models.measures.paired import Difference
from tests.harness.judged import judged_day

ALIKE = Difference(mean=0.0, low=-1e-5, high=1e-5, blocks=28, correlation=0.0, verdict="tie")


def faults(*, observed, champion, challenger):
    """What speaks against the challenger on 28 days with these incidents, all alike."""
    expected = {"champion_expected": {"ems": champion}, "challenger_expected": {"ems": challenger}}
    return list(faults_of(ALIKE, 1e-3, [judged_day(observed={"ems": observed}, **expected)] * 28, GatePlan()))


def test_one_that_fits_may_be_tried():
    assert faults(observed=100, champion=100.0, challenger=98.0) == []


def test_one_that_knows_as_little_of_a_change_as_the_champion_is_not_tried():
    assert faults(observed=130, champion=100.0, challenger=101.0) == ["observed over expected is 1.29 in ems"]
    assert faults(observed=75, champion=100.0, challenger=99.0) == ["observed over expected is 0.76 in ems"]


def test_one_that_is_off_and_further_than_the_champion_is_not_tried():
    assert faults(observed=112, champion=104.0, challenger=100.0) == ["observed over expected is 1.12 in ems"]


def test_chance_in_a_small_category_keeps_none_out():
    assert faults(observed=5, champion=4.1, challenger=4.2) == []  # 140 incidents: 1.19, and the champion 1.22


def judged(new, champion, baseline=0.2):
    """28 days of these mean log scores, nats; a fifth of the champion's skill may be lost.

    The challenger's differ by 0.02 from day to day, so that a loss of 0.0075 is not shown to be one.
    """
    days = [
        judged_day(champion=1000 * champion, challenger=1000 * (new + sign * 0.02), baseline=1000 * baseline)
        for sign in (1, -1) * 14
    ]
    return judge_held_out(days, GatePlan()).faults


def test_a_loss_within_the_margin_is_allowed_and_a_worse_one_is_not():
    assert judged(0.1075, 0.1) == ()
    assert judged(0.13, 0.1) == ("its log score is worse",)


def test_one_that_is_no_worse_than_a_champion_that_has_lost_its_skill_must_not_be_worse_than_the_baseline():
    assert judged(0.24, 0.3) == ("its log score is worse than the baseline's",)
    assert judged(0.19, 0.3) == ()

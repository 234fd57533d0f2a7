"""What speaks against a trial: a challenger that could not pass it is not tried, and chance alone keeps none out."""

import pytest
from msgspec.structs import replace

from models.gate.held_out import faults_of, judge_held_out
from models.gate.plan import GatePlan
from models.gate.shadow_day import ShadowDay
from models.measures.paired import Difference

ALIKE = Difference(mean=0.0, low=-1e-5, high=1e-5, blocks=28, correlation=0.0, verdict="tie")


def day_of(*, observed=100, champion=100.0, challenger=100.0):
    return ShadowDay(
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


def faults(*, observed, champion, challenger, days=28):
    """Of days with these incidents, all alike."""
    one = day_of(observed=observed, champion=champion, challenger=challenger)
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


def judged(new, champion, **earlier):
    """28 days of these mean log scores, nats; the baseline's is 0.2, and a fifth of the skill may be lost.

    The challenger's differ by 0.02 from day to day, so that a loss of 0.0075 is not shown to be one.
    """

    def days(score):
        return [
            replace(day_of(), champion=1000 * score, challenger=1000 * (new + sign * 0.02), baseline=200.0)
            for sign in (1, -1) * 14
        ]

    return judge_held_out(days(champion), {name: days(score) for name, score in earlier.items()}, (), GatePlan())


def test_margins_do_not_add_up_over_promotions():
    assert judged(0.1075, 0.1).faults == ()
    assert judged(0.115, 0.1075).faults == ()  # all that it would be asked without the anchor
    found = judged(0.115, 0.1075, first=0.1)
    assert found.faults == ("its log score is worse, beside the earlier first",)
    assert (found.anchor.version, found.anchor.score) == ("first", pytest.approx(0.1))
    assert found.anchor.margin == pytest.approx(0.2 * (0.2 - 0.1))
    assert found.anchor.difference.mean == pytest.approx(0.015)


def test_however_many_promotions_no_more_than_one_margin_is_lost():
    """Each challenger is the worst that the gate lets through."""
    ends = {}
    for is_anchored in (False, True):
        champions = [0.1]
        for _ in range(5):
            scores = [champions[-1] + step / 2000 for step in range(30)]
            earlier = named(champions[:-1]) if is_anchored else {}
            champions.append(max(one for one in scores if not judged(one, champions[-1], **earlier).faults))
        ends[is_anchored] = champions[-1] - champions[0]
    margin = 0.2 * (0.2 - 0.1)
    assert ends[True] < margin < ends[False]


def named(scores):
    return {f"v{number}": score for number, score in enumerate(scores)}


def test_the_best_of_the_earlier_ones_is_the_anchor_and_none_where_the_champion_is_best():
    assert judged(0.1, 0.12, old=0.15, best=0.11, other=0.115).anchor.version == "best"
    assert judged(0.1, 0.12, old=0.15).anchor is None
    assert judged(0.1, 0.12).anchor is None

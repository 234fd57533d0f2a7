"""The gate's decision: each reason by itself, and the order of the days and reasons."""

import msgspec
import numpy as np
import pytest

from lifecycle.gate.judge import judge_hours, judge_shadow, judge_trial, margin_of
from lifecycle.gate.plan import GatePlan
from lifecycle.gate.shadow_day import shadow_path
from models.measures.sequence import bounds_of
from tests.harness.judged import judged_day, judged_hour, toy_trial
from tests.harness.toy import toy_spec

PLAN = GatePlan()
VALUES = 24 * 100


def shadow(days=20, *, worse=0.0, noise=0.01, observed=40, expected=1.0, champion_expected=1.0, seed=1):
    """Days on which the challenger is worse by `worse` nats per value, and expects `expected` times what came."""
    random = np.random.default_rng(seed)
    came = random.poisson(observed, days)
    return [
        judged_day(
            number,
            values=VALUES,
            champion=VALUES * 0.1,
            challenger=VALUES * (0.1 + worse + noise * random.standard_normal()),
            baseline=VALUES * 0.12,
            observed={"fire": int(came[number])},
            champion_expected={"fire": float(observed * champion_expected)},
            challenger_expected={"fire": float(observed * expected)},
        )
        for number in range(days)
    ]


def decided(days):
    judgement = judge_shadow(days, PLAN, margin=0.02)
    return judgement.decision, judgement.because


def test_nothing_is_known_before_the_first_day():
    judgement = judge_shadow([], PLAN, margin=0.02)
    assert (judgement.decision, judgement.days) == ("go on", 0)
    assert (judgement.difference, judgement.low, judgement.high) == (0.0, -np.inf, np.inf)


def test_what_is_known_after_a_day_is_its_difference():
    [day] = shadow(1)
    judgement = judge_shadow([day], PLAN, margin=0.02)
    assert judgement.because == "1 of 14 days; two weekends"
    assert judgement.difference == pytest.approx((day.challenger - day.champion) / VALUES)
    assert (judgement.low, judgement.high) == (-np.inf, np.inf)


def test_a_trial_is_judged_by_the_hours_beside_its_champion(tmp_path):
    path = shadow_path(tmp_path, "toyville")
    path.parent.mkdir()
    trial = toy_trial()
    hours = [judged_hour(trial.started_s + number * 3600, challenger=number) for number in range(60)]
    others = [judged_hour(trial.started_s + number * 3600, champion_version="baseline") for number in range(60)]
    path.write_bytes(b"".join(msgspec.json.encode(hour) + b"\n" for hour in (*hours, *others)))
    judgement = judge_trial(trial, toy_spec(), tmp_path)
    assert judgement == judge_hours(trial, toy_spec(), hours)
    assert judgement.days == 2


AT_MARGIN = "the upper bound of the difference is not below the margin"
NO_SUNDAYS = [day for day in shadow(80) if day.weekday != 7]


@pytest.mark.parametrize(
    ("days", "margin", "decision", "because"),
    [
        pytest.param(shadow(30), 0.02, "promote", "the challenger is not worse than", id="an equal one passes"),
        pytest.param(shadow(59), 0.0, "go on", "the upper bound", id="without a margin it goes on"),
        pytest.param(shadow(60), 0.0, "undecided", "after 60 days: the upper bound", id="and nothing is decided"),
        pytest.param(shadow(13, worse=0.1), 0.02, "go on", "13 of 14 days; two weekends", id="a worse one goes on"),
        pytest.param(shadow(14, worse=0.1), 0.02, "stop", "the challenger's log score is worse", id="until day 14"),
        pytest.param(NO_SUNDAYS[:34], 0.02, "go on", "two weekends", id="weekends are waited for"),
        pytest.param(NO_SUNDAYS, 0.02, "undecided", "after 69 days: two weekends", id="but not for ever"),
        pytest.param(shadow(30, expected=0.6), 0.02, "stop", "observed over expected is 1.6", id="far too little"),
        pytest.param(shadow(30, expected=1.6), 0.02, "stop", "observed over expected is 0.6", id="far too much"),
        pytest.param(
            shadow(30, expected=0.8, champion_expected=0.6),
            0.02,
            "go on",  # it is not promoted either: its total is not within the plan's limits
            "observed over expected is 1.2",
            id="off, but less than the champion",
        ),
        pytest.param(shadow(30, observed=1), 0.02, "go on", "no category has 100 incidents", id="few incidents"),
        pytest.param(shadow(59, observed=1), 0.0, "go on", f"{AT_MARGIN}; no category has 100", id="two reasons"),
        pytest.param(
            shadow(60, observed=1),
            0.0,
            "undecided",
            f"after 60 days: {AT_MARGIN}; no category has 100",
            id="to the end",
        ),
    ],
)
def test_what_is_decided_and_why(days, margin, decision, because):
    judgement = judge_shadow(days, PLAN, margin=margin)
    assert (judgement.decision, judgement.because[: len(because)]) == (decision, because)


def even(observed, expected, days=30):
    """Days that are all alike, with the same score for both."""
    counts = {"observed": {"fire": observed}, "champion_expected": {"fire": 1.0}}
    return [judged_day(number, challenger_expected={"fire": expected}, **counts) for number in range(days)]


def test_what_lies_just_at_a_limit_of_the_plan_is_within_it():
    for observed, expected in ((11, 10.0), (10, 11.0)):  # a tenth off
        assert judge_shadow(even(observed, expected), PLAN, margin=0.02).decision == "promote"
    assert judge_shadow(even(5, 5.0, days=20), PLAN, margin=0.02).calibration[0].observed == 100  # enough


def test_a_difference_that_may_be_as_large_as_the_margin_is_not_below_it():
    high = judge_shadow(shadow(30), PLAN, margin=0.02).high
    judgement = judge_shadow(shadow(30), PLAN, margin=high)
    assert (judgement.decision, judgement.because) == ("go on", AT_MARGIN)


def test_two_categories_err_together_as_often_as_one_would():
    days = shadow(30)
    for day in days:
        for counts in (day.observed, day.champion_expected, day.challenger_expected):
            counts["ems"] = counts["fire"]
    came = np.array([day.observed["fire"] for day in days], np.float64)
    apart = bounds_of(came - 40.0, alpha=0.05 / 4)  # both categories, both sides
    for total in judge_shadow(days, PLAN, margin=0.02).calibration:
        assert (total.low, total.high) == pytest.approx((1 + apart.lower[-1] / 40, 1 + apart.upper[-1] / 40))


def test_days_with_few_hours_are_left_out():
    days = shadow(20)
    days[3] = msgspec.structs.replace(days[3], hours=11, challenger=1e9)
    judgement = judge_shadow(days, PLAN, margin=0.02)
    assert (judgement.decision, judgement.days) == ("promote", 19)


def test_days_of_unequal_length_count_as_means_per_value():
    days = shadow(30)
    days[5] = msgspec.structs.replace(
        days[5], hours=12, values=VALUES // 2, champion=days[5].champion / 2, challenger=days[5].challenger / 2
    )
    halved, whole = judge_shadow(days, PLAN, margin=0.02), judge_shadow(shadow(30), PLAN, margin=0.02)
    assert halved.high == pytest.approx(whole.high, abs=1e-12)


def test_a_category_with_few_incidents_is_named_and_not_judged():
    days = [
        msgspec.structs.replace(
            day,
            observed={**day.observed, "flood": 0},
            champion_expected={**day.champion_expected, "flood": 3.0},
            challenger_expected={**day.challenger_expected, "flood": 3.0},
        )
        for day in shadow(30)
    ]
    judgement = judge_shadow(days, PLAN, margin=0.02)
    assert judgement.decision == "promote"
    assert judgement.too_few == ("flood",)
    assert [total.category for total in judgement.calibration] == ["fire"]


@pytest.mark.parametrize(("failed", "decision"), [(16, "go on"), (17, "stop")])
def test_one_that_fails_in_more_than_a_twentieth_of_its_hours_is_stopped(failed, decision):
    days = shadow(14)  # of 14 x 24 hours
    days[3] = msgspec.structs.replace(days[3], hours=24 - failed, failed=failed)  # what is left of it is no day
    days[4] = msgspec.structs.replace(days[4], cut=2)
    judgement = judge_shadow(days, PLAN, margin=0.02)
    assert judgement.decision == decision
    assert judgement.failed == {"2026-03-04": failed}
    assert judgement.cut == {"2026-03-05": 2}
    assert decision == "go on" or judgement.because == "the challenger could not be scored in 17 of 336 hours"


def test_the_share_grows_with_the_trial():
    days = [msgspec.structs.replace(day, hours=23, failed=1) for day in shadow(30)]  # 30 of 720 hours: 4.2 %
    assert judge_shadow(days, PLAN, margin=0.02).decision == "promote"
    days[5:7] = [msgspec.structs.replace(day, hours=20, failed=4) for day in days[5:7]]
    assert judge_shadow(days, PLAN, margin=0.02).decision == "promote"  # 36: just 5 %
    days[7] = msgspec.structs.replace(days[7], hours=22, failed=2)
    assert decided(days) == ("stop", "the challenger could not be scored in 37 of 720 hours")


def test_one_that_is_never_scored_is_stopped_at_once_and_one_early_hour_stops_none():
    nothing = {"champion": 0.0, "challenger": 0.0, "baseline": 0.0, "values": 0}
    day = msgspec.structs.replace(shadow(1)[0], hours=0, failed=24, **nothing)
    assert decided([day]) == ("stop", "the challenger could not be scored in 24 of 24 hours")
    day = msgspec.structs.replace(shadow(1)[0], hours=0, failed=1, **nothing)
    assert decided([day])[0] == "go on"


def test_the_ratio_is_that_of_the_sums_and_lies_in_its_bounds():
    days = shadow(30, expected=0.95)
    (total,) = judge_shadow(days, PLAN, margin=0.02).calibration
    came = sum(day.observed["fire"] for day in days)
    assert total.observed == came
    assert total.ratio == pytest.approx(came / (30 * 40 * 0.95))
    assert total.low < total.ratio < total.high


def test_the_margin_is_a_part_of_the_skill_and_never_below_zero():
    assert margin_of(0.12, 0.10, PLAN) == pytest.approx(0.2 * 0.02)
    assert margin_of(0.10, 0.12, PLAN) == 0.0

"""The gate: its decision on made days, its plan, and the trials on record."""

import hashlib
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from lifecycle import gate as trials
from lifecycle.gate import (
    YEAR_S,
    GatePlan,
    end_on_record,
    ended_trials,
    judge_hours,
    judge_shadow,
    judge_trial,
    read_plan,
    read_trial,
    refuse_another,
    refuse_too_many,
    started_within_a_year,
    write_trial,
)
from lifecycle.shadow import shadow_path
from models.comparison import bounds_of
from schemas.errors import ArtifactError, GateClosed, SettingsError
from schemas.spec import DAY_S
from tests.harness.gate_town import judged_day, judged_hour, toy_trial, write_hours
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


def judged(days, margin=0.02):
    return judge_shadow(days, PLAN, margin=margin)


def decided(days, margin=0.02):
    judgement = judged(days, margin)
    return judgement.decision, judgement.because


def test_before_the_first_day_nothing_is_known_and_after_it_its_difference():
    (day,) = shadow(1)
    for days, difference in (([], 0.0), ([day], (day.challenger - day.champion) / VALUES)):
        judgement = judged(days)
        assert (judgement.decision, judgement.days) == ("go on", len(days))
        assert judgement.difference == pytest.approx(difference)
        assert (judgement.low, judgement.high) == (-np.inf, np.inf)
    assert judgement.because == "1 of 14 days; two weekends"


def test_a_trial_is_judged_by_the_hours_beside_its_champion(tmp_path):
    trial = toy_trial()
    hours = [judged_hour(trial.started_s + number * 3600, challenger=number) for number in range(60)]
    others = [judged_hour(trial.started_s + number * 3600, champion_version="baseline") for number in range(60)]
    write_hours(shadow_path(tmp_path, "toyville"), [*hours, *others])
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
    said, why = decided(days, margin)
    assert (said, why[: len(because)]) == (decision, because)


def even(observed, expected, days=30):
    """Days that are all alike, with the same score for both."""
    counts = {"observed": {"fire": observed}, "champion_expected": {"fire": 1.0}}
    return [judged_day(number, challenger_expected={"fire": expected}, **counts) for number in range(days)]


def test_what_lies_just_at_a_limit_of_the_plan_is_within_it():
    for observed, expected in ((11, 10.0), (10, 11.0)):  # a tenth off
        assert judged(even(observed, expected)).decision == "promote"
    assert judged(even(5, 5.0, days=20)).calibration[0].observed == 100  # enough


def test_a_difference_that_may_be_as_large_as_the_margin_is_not_below_it():
    assert decided(shadow(30), judged(shadow(30)).high) == ("go on", AT_MARGIN)


def test_ratios_are_those_of_the_sums_and_two_categories_err_together_as_often_as_one_would():
    days = shadow(30, expected=0.95)
    for day in days:
        for counts in (day.observed, day.champion_expected, day.challenger_expected):
            counts["ems"] = counts["fire"]
    came = np.array([day.observed["fire"] for day in days], np.float64)
    apart = bounds_of(came - 38.0, alpha=0.05 / 4)  # both categories, both sides
    for total in judged(days).calibration:
        assert (total.observed, total.ratio) == (came.sum(), pytest.approx(came.mean() / 38))
        assert (total.low, total.high) == pytest.approx((1 + apart.lower[-1] / 38, 1 + apart.upper[-1] / 38))
        assert total.low < total.ratio < total.high


@pytest.mark.filterwarnings("ignore:divide by zero")
def test_beside_a_champion_that_expected_nothing_the_challenger_is_judged_all_the_same():
    (fire,) = judged(shadow(champion_expected=0.0)).calibration
    assert (fire.ratio, fire.champion_ratio) == (pytest.approx(1, abs=0.01), np.inf)


def test_days_with_few_hours_are_left_out():
    days = shadow(20)
    days[3] = replace(days[3], hours=11, challenger=1e9)
    judgement = judged(days)
    assert (judgement.decision, judgement.days) == ("promote", 19)


def test_days_of_unequal_length_count_as_means_per_value():
    days = shadow(30)
    half = {"champion": days[5].champion / 2, "challenger": days[5].challenger / 2, "values": VALUES // 2}
    days[5] = replace(days[5], hours=12, **half)
    assert judged(days).high == pytest.approx(judged(shadow(30)).high, abs=1e-12)


def test_a_category_with_few_incidents_is_named_and_not_judged():
    days = shadow(30)
    for day in days:
        day.observed["flood"], day.champion_expected["flood"], day.challenger_expected["flood"] = 0, 3.0, 3.0
    judgement = judged(days)
    assert (judgement.decision, judgement.too_few) == ("promote", ("flood",))
    assert [total.category for total in judgement.calibration] == ["fire"]


@pytest.mark.parametrize(("failed", "decision"), [(16, "go on"), (17, "stop")])
def test_one_that_fails_in_more_than_a_twentieth_of_its_hours_is_stopped(failed, decision):
    days = shadow(14)  # of 14 x 24 hours
    days[3] = replace(days[3], hours=24 - failed, failed=failed)  # what is left of it is no day
    days[4] = replace(days[4], cut=2)
    judgement = judged(days)
    assert judgement.decision == decision
    assert judgement.failed == {"2026-03-04": failed}
    assert judgement.cut == {"2026-03-05": 2}
    assert decision == "go on" or judgement.because == "the challenger could not be scored in 17 of 336 hours"


def test_the_share_grows_with_the_trial():
    days = [replace(day, hours=23, failed=1) for day in shadow(30)]  # 30 of 720 hours: 4.2 %
    assert judged(days).decision == "promote"
    days[5:7] = [replace(day, hours=20, failed=4) for day in days[5:7]]
    assert judged(days).decision == "promote"  # 36: just 5 %
    days[7] = replace(days[7], hours=22, failed=2)
    assert decided(days) == ("stop", "the challenger could not be scored in 37 of 720 hours")


def test_one_that_is_never_scored_is_stopped_at_once_and_one_early_hour_stops_none():
    nothing = {"champion": 0.0, "challenger": 0.0, "baseline": 0.0, "values": 0}
    day = replace(shadow(1)[0], hours=0, failed=24, **nothing)
    assert decided([day]) == ("stop", "the challenger could not be scored in 24 of 24 hours")
    day = replace(shadow(1)[0], hours=0, failed=1, **nothing)
    assert decided([day])[0] == "go on"


@pytest.mark.parametrize(
    ("text", "plan"), [("", GatePlan()), ("margin = 0.1  # agreed\nauto = true\n", GatePlan(margin=0.1, auto=True))]
)
def test_keys_are_read_beside_the_defaults_and_the_hash_covers_every_byte(tmp_path, text, plan):
    path = tmp_path / "gate.toml"
    path.write_text(text)
    assert read_plan(path) == (plan, hashlib.sha256(text.encode()).hexdigest())


@pytest.mark.parametrize(
    "text",
    ["alpha = 0", "alpha = 1.5", "margins = 0.2", "least_days = 90", "least_days = 0", 'auto = "yes"', "alpha", "\xff"],
)
def test_what_cannot_be_meant_is_refused_as_a_plan_that_is_missing_with_its_keys(tmp_path, text):
    path = tmp_path / "gate.toml"
    with pytest.raises(SettingsError, match=r"gate\.toml is missing") as refused:
        read_plan(path)
    assert all(key in refused.value.remedy for key in GatePlan.__struct_fields__)
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(SettingsError):
        read_plan(path)


NOW_S = 1_800_000_000


def write(artifacts, started_s):
    (artifacts / "town").mkdir(parents=True, exist_ok=True)
    trial = toy_trial(started_s=started_s)
    write_trial(artifacts, "town", trial)
    return trial


def had(artifacts, *ages_days):
    (artifacts / "town").mkdir(exist_ok=True)
    for age_days in ages_days:
        end_on_record(artifacts, "town", toy_trial(started_s=NOW_S - age_days * DAY_S), "stop")


@pytest.mark.usefixtures("far_from_utc")
def test_a_fifth_within_a_year_is_refused_and_the_day_is_named(tmp_path):
    had(tmp_path, 400, 300, 200, 100)
    refuse_too_many(tmp_path, "town", PLAN, NOW_S)  # the first of the four is more than a year old
    had(tmp_path, 50)
    with pytest.raises(GateClosed, match="has had 4 trials within 365 days, and the plan allows 4") as refused:
        refuse_another(tmp_path, "town", PLAN, NOW_S)
    assert refused.value.remedy == (
        "wait until 2027-03-22; if that is too long, agree on more trials_a_year and less alpha in the plan"
    )
    refuse_another(tmp_path, "town", PLAN, NOW_S + 65 * DAY_S)


def test_regions_do_not_share_and_the_one_that_runs_counts(tmp_path):
    had(tmp_path, 365, 364, 20)
    write(tmp_path, NOW_S)
    assert started_within_a_year(tmp_path, "town", NOW_S) == [NOW_S - 364 * DAY_S, NOW_S - 20 * DAY_S, NOW_S]
    assert started_within_a_year(tmp_path, "elsewhere", NOW_S) == []


@given(ages=st.lists(st.integers(0, 800), unique=True, max_size=12), most=st.integers(1, 6))
def test_whoever_waits_as_told_may_start_and_not_a_day_before(tmp_path_factory, ages, most):
    artifacts, plan = tmp_path_factory.mktemp("artifacts"), GatePlan(trials_a_year=most)
    had(artifacts, *ages)
    starts = [NOW_S - age * DAY_S for age in ages]
    assert len(started_within_a_year(artifacts, "town", NOW_S)) == sum(age < 365 for age in ages)
    try:
        refuse_too_many(artifacts, "town", plan, NOW_S)
        return
    except GateClosed as error:
        day = datetime.fromisoformat(error.remedy.split()[2].rstrip(";")).replace(tzinfo=UTC)
    told_s = int(day.timestamp())
    assert sum(start_s > told_s - YEAR_S for start_s in starts) < most
    assert sum(start_s > told_s - DAY_S - YEAR_S for start_s in starts) >= most


def test_a_kill_between_record_and_removal_counts_the_trial_once(tmp_path, monkeypatch):
    trial = write(tmp_path, NOW_S)
    monkeypatch.setattr(trials, "trial_path", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        end_on_record(tmp_path, "town", trial, "stop")
    monkeypatch.undo()
    assert read_trial(tmp_path, "town") == trial
    assert started_within_a_year(tmp_path, "town", NOW_S) == [NOW_S]
    end_on_record(tmp_path, "town", trial, "stop")
    assert read_trial(tmp_path, "town") is None
    end_on_record(tmp_path, "town", trial, "stop")
    assert [(each.started_s, each.decision) for each in ended_trials(tmp_path, "town")] == [(NOW_S, "stop")]


def test_a_trial_that_cannot_be_read_or_written_is_named(tmp_path):
    trial, home = write(tmp_path, NOW_S), tmp_path / "town"
    for name, act in (
        ("trial.json", lambda: write_trial(tmp_path, "town", trial)),
        ("trials.json", lambda: end_on_record(tmp_path, "town", trial, "stop")),
    ):
        (home / f".{name}.part").mkdir()
        with pytest.raises(ArtifactError, match=f"{home / name} cannot be written"):
            act()
    (home / "trial.json").write_bytes(b"garbage")
    with pytest.raises(ArtifactError, match=r"trial\.json cannot be used") as refused:
        read_trial(tmp_path, "town")
    assert refused.value.remedy == "remove it, then start the trial again: `risk gate start`"


@pytest.mark.parametrize("content", [b"garbage", b'[{"champion": "\xff"}]'])
def test_a_record_that_cannot_be_read_frees_nobody(tmp_path, content):
    had(tmp_path, 10)
    (tmp_path / "town" / "trials.json").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"trials\.json cannot be read") as refused:
        refuse_too_many(tmp_path, "town", PLAN, NOW_S)
    remedy = "restore it from a copy, or write it again from the audit log's records `trial_ended`"
    assert refused.value.remedy == remedy

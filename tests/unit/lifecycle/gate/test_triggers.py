"""When a challenger is due: each trigger by itself, and how rarely one fires without cause."""

import msgspec
import numpy as np
import pytest

from lifecycle.gate.shadow_day import LEAST_HOURS
from lifecycle.gate.triggers import (
    LEAST_DAYS,
    OLDEST_DAYS,
    SKILL_DAYS,
    ChampionRecord,
    drift_of,
    triggers,
)
from models.measures.sequence import bounds_of
from schemas.limits import DRIFT_BAND
from tests.harness.judged import judged_day


def reasons_of(days=(), **other):
    """Why a champion is due that is ten days old and was better than its baseline, but for what `other` says."""
    return triggers(ChampionRecord(**{"days": days, "age_days": 10.0, "is_trained": True, "was_better": True} | other))


def days(count, *, level=1.0, skill=0.01, seed=0, **changes):
    """Days of Poisson counts at `level` times what is expected, with a mean skill over the baseline, nats per value."""
    random = np.random.default_rng(seed)
    drawn = []
    for number in range(count):
        score = 0.1 + 0.005 * random.standard_normal()
        observed = {"ems": int(random.poisson(200 * level)), "fire": int(random.poisson(40))}
        drawn.append(
            judged_day(
                number,
                champion=1000 * score,
                baseline=1000 * (score + skill + 0.005 * random.standard_normal()),
                observed=observed,
                **{"champion_expected": {"ems": 200.0, "fire": 40.0}, **changes},
            )
        )
    return drawn


def test_a_young_champion_that_fits_needs_none():
    assert reasons_of(days(60)) == []
    assert reasons_of() == []


def test_age_is_one():
    assert reasons_of(age_days=OLDEST_DAYS) == []
    (reason,) = reasons_of(age_days=OLDEST_DAYS + 1)
    assert reason.startswith("its data end 91 days ago")
    (reason,) = reasons_of(age_days=OLDEST_DAYS + 1, is_trained=False)
    assert reason.startswith("it was made from a guess, not from incidents, 91 days ago")


@pytest.mark.parametrize("level", [1.3, 0.75])
def test_a_level_that_rose_or_fell_is_one_and_says_where(level):
    reasons = reasons_of(days(30, level=level))
    assert [reason.split()[-1] for reason in reasons] == ["all", "ems"]
    assert [drift.name for drift in drift_of(days(LEAST_DAYS))] == ["all", "ems", "fire"]
    assert drift_of(days(LEAST_DAYS - 1, level=level)) == []
    assert reasons_of(days(LEAST_DAYS - 1, level=level)) == []


def test_a_level_inside_the_limits_is_none():
    assert reasons_of(days(200, level=(1 + DRIFT_BAND[1]) / 2)) == []


@pytest.mark.parametrize("calm", [0, 60, 200])
def test_a_level_that_rose_is_seen_soon_however_long_all_was_calm(calm):
    """All days together would hide it: 60 calm days and 30 at 1.45 have a mean of 1.15, with wide bounds."""
    reasons = reasons_of(days(calm) + days(32, level=1.45, seed=1))
    assert [reason.split()[-1] for reason in reasons] == ["all", "ems"]
    assert reasons_of(days(calm) + days(6, level=1.45, seed=1)) == []


def test_the_bounds_are_those_of_the_sequence_that_says_most():
    """A sequence begins every two weeks, and is at least two weeks long."""
    calm, high = days(14), days(14, level=1.45, seed=1)
    _, ems, _ = drift_of(calm + high)
    apart = bounds_of(  # three names, the second sequence, two sides
        np.array([day.observed["ems"] - 200.0 for day in high]), alpha=0.05 / 3 / 6 / 2
    )
    assert ems.days == 14
    assert (ems.low, ems.high) == pytest.approx((1 + apart.lower[-1] / 200, 1 + apart.upper[-1] / 200))
    assert {drift.days for drift in drift_of(calm[1:] + high)} == {27}
    assert {drift.days for drift in drift_of(calm[7:] + high + high[:7])} <= {28, 14}


def test_chance_seldom_is_one():
    """Looked at every two weeks of half a year, of 100 regions in which nothing changes."""
    wrong = 0
    for seed in range(100):
        half_a_year = days(180, seed=seed)
        looks = (drift_of(half_a_year[:length]) for length in range(LEAST_DAYS, 180, 14))
        wrong += any(drift.is_outside for drifts in looks for drift in drifts)
    assert wrong <= 5


def test_skill_that_is_gone_is_one_only_where_there_was_some():
    gone = days(SKILL_DAYS + 5, skill=-0.001)
    (reason,) = reasons_of(gone)
    assert "no longer shown to be better" in reason
    assert reasons_of(gone, was_better=False) == []
    assert reasons_of(gone[:SKILL_DAYS]) == ["after 28 days it is no longer shown to be better than its baseline"]
    assert reasons_of(gone[: SKILL_DAYS - 1]) == []


def test_skill_is_gone_on_the_day_that_says_so():
    good = days(SKILL_DAYS, skill=0.05)
    assert reasons_of(good) == []
    awful = days(SKILL_DAYS + 1, skill=-10)[-1]
    assert len(reasons_of([*good, awful])) == 1


def followed(count, gain, *, seed=0):
    """Days on which following gained so much, nats an incident, give or take 0.01."""
    random = np.random.default_rng(seed)
    return [
        judged_day(
            number,
            observed={"ems": 200, "fire": 40},
            champion_expected={"ems": 200.0, "fire": 40.0},
            champion=100.0,
            alone=100.0 + 240 * (gain + 0.01 * random.standard_normal()),
        )
        for number in range(count)
    ]


@pytest.mark.parametrize("calm", [0, 40, 200])
def test_a_network_that_is_much_worse_alone_is_one_soon_however_long_all_was_calm(calm):
    (reason,) = reasons_of(followed(calm, 0.0) + followed(14, 0.05, seed=1), was_better=False)
    assert reason.endswith("nats an incident, more than 0.01: the network alone no longer fits")
    assert reasons_of(followed(calm, 0.0) + followed(2, 0.05, seed=1), was_better=False) == []


def test_days_of_a_few_hours_say_nothing_of_following():
    thin = [msgspec.structs.replace(day, hours=LEAST_HOURS - 1) for day in followed(14, 0.05)]
    assert reasons_of(thin, was_better=False) == []


def test_following_that_gains_little_is_none_in_99_of_100_years():
    asked = [reasons_of(followed(365, 0.009, seed=seed), was_better=False) for seed in range(100)]
    assert sum(map(bool, asked)) <= 1


def test_of_the_sequences_that_begin_each_week_the_first_that_shows_it_speaks():
    spoke = 0
    for seed in range(40):
        judged = followed(seed % 23, 0.0) + followed(3 + seed % 13, 0.03, seed=seed)
        expected = []
        for week in range((len(judged) - 7) // 7, -1, -1):  # the first, so it is looked at last
            gains = np.array([day.alone - day.champion for day in judged[7 * week :]])
            if bounds_of(gains - 0.01 * 240, alpha=0.05 / ((week + 1) * (week + 2))).lower[-1] > 0:
                by = f"{gains.mean() / 240:.3f} nats an incident"
                expected = [f"in {len(gains)} days following gained {by}, more than 0.01: the network"]
        assert [reason.partition(" alone")[0] for reason in reasons_of(judged, was_better=False)] == expected
        spoke += len(expected)
    assert 10 < spoke < 40


def test_drift_is_that_of_the_network_alone_which_following_hides():
    alone = days(30, level=1.5, champion_expected={"ems": 300.0, "fire": 40.0})
    assert [reason.split()[-1] for reason in reasons_of(alone)] == []
    hidden = days(
        30, level=1.5, champion_expected={"ems": 300.0, "fire": 40.0}, alone_expected={"ems": 200.0, "fire": 40.0}
    )
    assert [reason.split()[-1] for reason in reasons_of(hidden)] == ["all", "ems"]

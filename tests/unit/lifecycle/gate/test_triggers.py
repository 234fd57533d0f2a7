"""When a challenger is due; who is asked when, what is written down, and that no failure ends or hides it."""

import numpy as np
import pytest
from msgspec.structs import replace

from lifecycle.shadow import LEAST_HOURS
from lifecycle.triggers import (
    LEAST_DAYS,
    OLDEST_DAYS,
    SKILL_DAYS,
    ChampionRecord,
    ask_each,
    asked_path,
    drift_of,
    keep_asked,
    read_asked,
    triggers,
)
from models.comparison import bounds_of
from schemas.errors import ArtifactError, DataError, GateClosed
from schemas.limits import DRIFT_BAND
from schemas.spec import DAY_S, HOUR_S
from tests.harness.gate_town import judged_day


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


@pytest.mark.parametrize(
    "record",
    [{"days": days(60)}, {}, {"age_days": OLDEST_DAYS}, {"days": days(200, level=(1 + DRIFT_BAND[1]) / 2)}],
    ids=["young", "nothing judged", "just old enough", "a level inside the limits"],
)
def test_a_champion_that_fits_needs_none(record):
    assert reasons_of(**record) == []


@pytest.mark.parametrize(
    ("is_trained", "said"),
    [(True, "its data end 91 days ago"), (False, "it was made from a guess, not from incidents, 91 days ago")],
)
def test_age_is_one(is_trained, said):
    (reason,) = reasons_of(age_days=OLDEST_DAYS + 1, is_trained=is_trained)
    assert reason.startswith(said)


@pytest.mark.parametrize("level", [1.3, 0.75])
def test_a_level_that_rose_or_fell_is_one_and_says_where(level):
    reasons = reasons_of(days(30, level=level))
    assert [reason.split()[-1] for reason in reasons] == ["all", "ems"]
    assert [drift.name for drift in drift_of(days(LEAST_DAYS))] == ["all", "ems", "fire"]
    assert drift_of(days(LEAST_DAYS - 1, level=level)) == []
    assert reasons_of(days(LEAST_DAYS - 1, level=level)) == []


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
        wrong += any(drift.beyond > 0 for drifts in looks for drift in drifts)
    assert wrong <= 5


def test_skill_that_is_gone_is_one_on_the_day_that_says_so_and_only_where_there_was_some():
    gone, good = days(SKILL_DAYS + 5, skill=-0.001), days(SKILL_DAYS, skill=0.05)
    (reason,) = reasons_of(gone)
    assert "no longer shown to be better" in reason
    assert reasons_of(gone, was_better=False) == []
    assert reasons_of(gone[:SKILL_DAYS]) == ["after 28 days it is no longer shown to be better than its baseline"]
    assert reasons_of(gone[: SKILL_DAYS - 1]) == reasons_of(good) == []
    assert len(reasons_of([*good, days(SKILL_DAYS + 1, skill=-10)[-1]])) == 1


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
    thin = [replace(day, hours=LEAST_HOURS - 1) for day in followed(14, 0.05)]
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
    shown, alone = {"ems": 300.0, "fire": 40.0}, {"ems": 200.0, "fire": 40.0}
    assert reasons_of(days(30, level=1.5, champion_expected=shown)) == []
    hidden = days(30, level=1.5, champion_expected=shown, alone_expected=alone)
    assert [reason.split()[-1] for reason in reasons_of(hidden)] == ["all", "ems"]


START_S, LOOK_S = 1_800_000_000, 900  # as `watch` looks


class World:
    """Asks of some regions, look by look on a clock of its own."""

    def __init__(self, folder, regions, answers):
        self.folder, self.regions, self.answers = folder, regions, answers
        self.now, self.calls, self.said = START_S, [], []
        for region in regions:
            (folder / region).mkdir()

    def ask(self, region):
        self.calls.append((region, (self.now - START_S) / HOUR_S))
        self.during = read_asked(self.folder, region)
        answer = self.answers(region, len(self.calls))
        if isinstance(answer, Exception):
            raise answer
        return answer

    def each(self, *, due_alone=False):
        options = {"say": self.said.append, "now_s": lambda: self.now, "due_alone": due_alone}
        return ask_each(self.regions, self.ask, self.folder, **options)

    def live(self, days):
        end, self.faults = self.now + days * DAY_S, []
        while self.now < end:
            self.faults.append(self.each(due_alone=True))
            self.now += LOOK_S

    def asked_at(self, region):
        """Hours since the start."""
        return [hour for name, hour in self.calls if name == region]


def test_each_region_is_asked_once_a_day_also_over_a_restart_and_one_without_a_folder_gets_none(tmp_path):
    world = World(tmp_path, ["north", "south"], lambda *_: ("nothing due", "fine"))
    world.live(2.5)
    assert world.asked_at("north") == [0, 24, 48]
    world.live(0.25)  # started again: it was asked twelve hours before
    assert len(world.calls) == 6
    asked = read_asked(tmp_path, "south")
    assert (asked.outcome, asked.because, asked.made_s) == ("nothing due", "fine", None)
    assert asked.at_s == START_S + 2 * DAY_S
    assert set(world.faults) == {None}
    keep_asked(tmp_path, "nowhere", "failed", "x", now_s=5)
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize(
    "error", [DataError("the archive lacks 2 days", "add them"), MemoryError(), ZeroDivisionError()]
)
def test_an_ask_that_fails_is_said_and_repeated_and_keeps_no_other_from_its_turn(tmp_path, error):
    world = World(tmp_path, ["north", "south"], lambda region, _: error if region == "north" else ("waits", "x"))
    world.live(0.2)
    assert (world.asked_at("north"), world.asked_at("south")) == ([0, 1, 2, 3, 4], [0])
    assert world.said == ["south: waits: x"]
    asked = read_asked(tmp_path, "north")
    assert (asked.outcome, asked.at_s) == ("failed", START_S + 4 * HOUR_S)
    assert (type(error).__name__ in asked.because) or asked.because == str(error)
    assert [fault for fault in world.faults if fault is error] == [error] * 5
    others = [str(fault) for fault in world.faults if fault is not error]
    assert all(f"the last ask of north failed ({asked.because})" in other for other in others)


@pytest.mark.parametrize("error", [DataError("lost", "find it"), ZeroDivisionError("by zero")])
def test_each_fault_is_said_once_the_first_by_the_caller_and_one_that_nobody_expects_with_its_trace(tmp_path, error):
    faults = {"north": GateClosed("not better", "train another"), "east": error}
    world = World(tmp_path, ["south", "north", "east"], lambda region, _: faults.get(region, ("waits", "x")))
    assert world.each() is faults["north"]
    first, *trace, last = world.said
    assert (first, last.startswith("east: failed: ")) == ("south: waits: x", True)
    assert ["Traceback" in line for line in trace] == [True] * (not isinstance(error, DataError))
    assert [read_asked(tmp_path, region).outcome for region in world.regions] == ["waits", "refused", "failed"]


def test_a_refusal_is_no_failure_and_a_challenger_is_remembered(tmp_path):
    answers = [("trial started", "made"), GateClosed("not better", "train another"), ("on trial", "x")]
    world = World(tmp_path, ["north"], lambda _, number: answers[number - 1])
    world.live(2.9)
    assert world.asked_at("north") == [0, 24, 48]
    assert "north: refused: not better" in "".join(world.said)
    asked = read_asked(tmp_path, "north")
    assert (asked.made_s, asked.at_s) == (START_S, START_S + 2 * DAY_S)
    assert set(world.faults) == {None}


def test_an_ask_that_was_killed_has_failed(tmp_path):
    """It is written down before the ask begins: training may run out of memory."""
    world = World(tmp_path, ["north"], lambda *_: ("waits", "x"))
    world.live(0.01)
    assert (world.during.outcome, world.during.because) == ("failed", "it did not come to its end")


def test_a_damaged_record_is_written_again_and_a_clock_that_was_set_back_stops_nothing(tmp_path):
    world = World(tmp_path, ["north"], lambda *_: ("waits", "x"))
    asked_path(tmp_path, "north").write_bytes(b"{")
    with pytest.raises(ArtifactError, match="cannot be used"):
        read_asked(tmp_path, "north")
    world.live(0.1)
    assert len(world.calls) == 1
    keep_asked(tmp_path, "north", "waits", "x", now_s=world.now + 30 * DAY_S)
    world.live(0.01)
    assert len(world.calls) == 2
    (tmp_path / "north" / ".retrain.json.part").mkdir()
    with pytest.raises(ArtifactError, match=r"north/retrain\.json cannot be written \(Is a directory\)"):
        keep_asked(tmp_path, "north", "waits", "x", now_s=5)


def test_a_region_whose_record_cannot_be_written_keeps_no_other_from_its_turn(tmp_path):
    """Nothing is trained for it."""
    world = World(tmp_path, ["north", "south"], lambda *_: ("waits", "x"))
    (tmp_path / "north" / ".retrain.json.part").mkdir()
    world.live(0.2)
    assert world.calls == [("south", 0)]
    assert all("north/retrain.json cannot be written" in str(fault) for fault in world.faults)
    assert isinstance(world.each(), ArtifactError)
    assert [region for region, _ in world.calls] == ["south", "south"]


@pytest.mark.parametrize("answer", [("waits", "x"), DataError("lost", "find it")])
def test_a_record_that_cannot_be_written_after_the_ask_is_a_fault_and_hides_none(tmp_path, answer):
    def answers(*_):
        (tmp_path / "north" / ".retrain.json.part").mkdir()
        return answer

    world = World(tmp_path, ["north", "south"], lambda region, _: answers() if region == "north" else ("waits", "x"))
    fault = world.each()
    assert fault is answer or "cannot be written" in str(fault)
    assert world.said == ["north: waits: x", "south: waits: x"][isinstance(answer, DataError) :]
    assert read_asked(tmp_path, "north").outcome == "failed"

"""Faults on real Kafka and a process of its own, judged by the recount of tests/faults/oracle.py.

One fault each; in every run those that tell most, one after another in one life of the job. The stories of outcomes
go on for 49 hours of the events' clock: a forecast is kept at each whole hour, and from the third on horizons close,
while the job is killed or has no store. One last event 22 hours later closes and judges most of the rest.
"""

import gc
import json
import logging
from collections import Counter, defaultdict
from dataclasses import replace

import pytest

from tests.faults.matrix import FAULTS
from tests.faults.oracle import DAY_S, GRACE_S, HOUR_S
from tests.faults.rules import frames_first_written, frames_of
from tests.faults.scenario import START_S, Action, Scenario
from tests.faults.world import FIRST_LOAD, BrokerToBreak, run_scenario, world_of

pytestmark = [
    # kafka-python, here the test's own producer, leaves the socket of a refused connection to the collector.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def shared_broker(tmp_path_factory, jar_cache, formatted, commands):
    """One that can be stopped, killed and frozen, behind a proxy."""
    with BrokerToBreak(formatted(tmp_path_factory.mktemp("faults") / "broker"), jar_cache, commands) as broker:
        yield broker


# name -> the faults that it plays, and the actions between the first and the last load of events
SCENARIOS = {"baseline": (("F00", "F11", "F12", "F17", "F18"), ())}
SCENARIOS |= {name: ((fault.id,), actions) for fault in FAULTS for name, actions in fault.plays.items()}
IN_EVERY_RUN = {
    "kills_and_outages": (
        ("F01", "F06", "F22", "F31"),
        (
            ("lose_commit", None),
            ("produce", 20),
            ("kill", "after write"),
            ("store_down", 9),
            ("produce", 20),
            ("store_half", 5000),
            ("broker_restart", 4),
            ("store_half", 700),
        ),
    ),
}
PLAYED = IN_EVERY_RUN | SCENARIOS
PLAYED_THERE = ("kill_after_write", "broker_restart", "store_down")  # alone only on the wall clock
ON_THE_WALL_CLOCK = ("baseline", "kill_after_write", "kill_in_write", "restart", "broker_restart", "store_down")


def named(names, *marks):
    return [pytest.param(name, marks=[pytest.mark.fault(*PLAYED[name][0]), *marks]) for name in names]


ALONE = [name for name in SCENARIOS if name not in PLAYED_THERE]
ON_THE_EVENTS_CLOCK = [*named(IN_EVERY_RUN), *named(ALONE, pytest.mark.nightly)]


def scenario_of(name, clock):
    steps = [("produce", 60), ("correct", 10), ("cancel", 5), ("repeat", 15), ("rubbish", "each"), ("stray", "each")]
    steps += [("settle", None)]
    steps += [*PLAYED[name][1], ("produce", 20), ("correct", 10), ("repeat", 15), ("rubbish", 12)]
    actions = [Action(kind, value, START_S + 60 + 130 * n, seed=1000 + n) for n, (kind, value) in enumerate(steps)]
    return Scenario(seed=0, partitions=2, write_timeout_s=20, per_batch=60, actions=tuple(actions), clock=clock)


@pytest.fixture(autouse=True)
def quiet_kafka(caplog):
    caplog.set_level(logging.CRITICAL, logger="kafka")  # what pytest keeps of its lines would keep its sockets open


@pytest.fixture
def assert_all_holds(tmp_path, shared_broker, record_property, quiet_kafka):
    """assert_all_holds(scenario): after it has run."""

    def run(scenario):
        outcome = run_scenario(scenario, tmp_path, shared_broker)
        gc.collect()
        assert not outcome.broken, "\n".join(outcome.broken)
        assert not outcome.exits, "the job was to go on by itself"
        missed = [kind for kind, hits, *_ in outcome.injected if not hits]
        assert not missed, f"these faults met nothing: {missed}"
        record_property("recovery_s", max(seconds for what, seconds in outcome.recoveries if what != FIRST_LOAD))
        record_property("messages", outcome.messages)
        record_property("injected", json.dumps(outcome.injected))

    return run


@pytest.mark.parametrize("name", ON_THE_EVENTS_CLOCK)
def test_every_invariant_holds(name, assert_all_holds):
    assert_all_holds(scenario_of(name, "event"))


@pytest.mark.parametrize("name", named(ON_THE_WALL_CLOCK, pytest.mark.nightly))
def test_every_invariant_holds_on_the_wall_clock(name, assert_all_holds):
    assert_all_holds(scenario_of(name, "wall"))


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["kill_after_write", "restart"])
def test_every_invariant_holds_where_repeated_calls_are_merged(name, assert_all_holds):
    assert_all_holds(replace(scenario_of(name, "event"), merge="repeated_calls"))


STORY_S = 1_700_002_800  # a whole hour, 23:00 UTC: the event that closes the story comes at 49 hours and 10 minutes
HOURS = 27
LATER = (("correct", 3), ("repeat", 2), ("cancel", 1))  # by turns, half an hour after every third hour
AGAIN = (9, 20)  # hours at which more comes within the same tick: the forecast that counts is the first

# name -> hour -> what is done then, before or instead of what is sent
STORIES = {
    "kills": {
        2: ("kill", "after write"),  # the first horizon closes
        5: ("kill", "after offsets"),  # the first of four hours
        9: ("kill", "after keep"),
        13: ("kill", "between batches"),
        25: ("kill", "in write"),  # the first of a day
        26: ("kill", "after write"),  # the first that is judged again
        27: ("kill", "after keep"),
    },
    "store": {
        2: ("store_503", 2),
        5: ("store_loses_answer", None),
        25: ("store_down", 20),  # longer than a write is tried for: its query ends, and the job waits
        26: ("store_half", 700),
    },
}
WITHIN = {"after offsets", "in write", "after write"}  # marks in the middle of a batch, before its forecast is kept


def story_of(name):
    """The scenario: events at each whole hour, and half an hour after some of them what corrects or repeats others."""
    steps = []
    for hour in range(HOURS + 1):
        if hour in STORIES[name]:
            steps.append((hour * HOUR_S, *STORIES[name][hour]))
        if hour not in STORIES[name] or STORIES[name][hour][0] == "store_down":
            steps.append((hour * HOUR_S, "produce", 6))
        steps.append((hour * HOUR_S, "settle", None))
        if hour in AGAIN:
            steps += [(hour * HOUR_S, "produce", 6), (hour * HOUR_S, "settle", None)]
        if hour % 3 == 0:
            steps += [(hour * HOUR_S + 1800, *LATER[hour // 3 % 3]), (hour * HOUR_S + 1800, "settle", None)]
    actions = [Action(kind, value, STORY_S + at_s, seed=7000 + n) for n, (at_s, kind, value) in enumerate(steps)]
    return Scenario(seed=0, partitions=2, write_timeout_s=4, per_batch=60, actions=tuple(actions))


PLAYED_STORIES = {"kills": "F01", "store": "F22"}


@pytest.mark.nightly
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.fault(fault)) for name, fault in PLAYED_STORIES.items()]
)
def test_every_outcome_that_is_due_is_stored_as_recounted(name, tmp_path, shared_broker, record_property):
    with world_of(story_of(name), tmp_path, shared_broker) as world:
        world.run()
        broken, traces = world.broken(), world.traces()
    gc.collect()
    assert not broken, "\n".join(broken)
    assert world.exits == []
    missed = [fault.kind for fault in world.injected if not fault.hits]
    assert not missed, f"these faults met nothing: {missed}"
    assert_killed_at_their_marks(world, name)
    assert_much_was_due(traces)
    seconds = [seconds for what, seconds in world.recoveries if what != FIRST_LOAD]
    record_property("recovery_s", max(*seconds, *(fault.back_s or 0 for fault in world.injected)))


def assert_killed_at_their_marks(world, name):
    wanted = [(what, hour) for hour, (kind, what) in STORIES[name].items() if kind == "kill"]
    assert [(kill.mark, (kill.at_s - STORY_S) // HOUR_S) for kill in world.kills] == wanted
    for kill in world.kills:
        assert kill.offsets == kill.commits + (kill.mark in WITHIN) or kill.mark == "after keep", kill
        assert kill.is_planned or kill.mark not in WITHIN, kill
        assert (kill.at_s in kill.forecasts) == (kill.mark == "after keep") or kill.mark == "between batches", kill
    after_keep = [kill for kill in world.kills if kill.mark == "after keep"]  # some 20 ms before the commit
    assert any(kill.offsets > kill.commits for kill in after_keep) or not after_keep, after_keep


def assert_much_was_due(traces):
    """Of each hour of the story each horizon, twice, where the second judgement often finds more."""
    expected = traces.recounted()
    of_place = defaultdict(list)
    for judgement in expected.judged:
        of_place[judgement.horizon, judgement.tick_s].append(judgement)
    ticks = {STORY_S + hour * HOUR_S for hour in range(HOURS + 1)}
    assert {tick_s for _, tick_s in of_place} == ticks
    twice = Counter(horizon for (horizon, _), judgements in of_place.items() if len(judgements) == 2)
    end_s = max(moment.clock_s for moment in expected.moments.values())
    for horizon in traces.regions[0].horizons:
        width_s = HOUR_S * int(horizon.removesuffix("h"))
        assert twice[horizon] == sum(tick_s + width_s + DAY_S + GRACE_S <= end_s for tick_s in ticks) > 0
    first, last = frames_first_written(traces.written), frames_of(traces.points)
    for hour in AGAIN:
        place = "riverton", STORY_S + hour * HOUR_S
        assert first[place] != last[place], "the second frame of an hour is as the first"
    changed = Counter(horizon for (horizon, _), all_of in of_place.items() if all_of[0].came != all_of[-1].came)
    assert changed["1h"] > 3, changed
    assert changed["4h"] > 3, changed

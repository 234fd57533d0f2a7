"""How forecasts came out, told by a job that is killed or has no store when horizons close: each outcome, recounted.

A story of 49 hours on the events' clock: the only one here that goes on for long enough. It begins at a whole hour and
goes on by whole hours, so that a forecast is kept at each; from the third one on horizons close at each. One last event
22 hours later closes and judges most of the rest at once.
"""

import gc
import logging
from collections import Counter, defaultdict

import pytest

from tests.faults.actions import FIRST_LOAD
from tests.faults.frame_rules import frames_first_written, frames_of
from tests.faults.good_store import recounted
from tests.faults.invariants import broken, seen_of
from tests.faults.outcomes import GRACE_S, HOUR_S
from tests.faults.scenario import DAY_S, Action, Scenario
from tests.faults.world import World
from tests.faults.written_store import WrittenStore
from tests.harness.proxy import Proxy

pytestmark = [
    pytest.mark.nightly,
    # kafka-python, here the test's own producer, leaves the socket of a refused connection to the collector.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]
BEGIN_S = 1_700_002_800  # a whole hour, 23:00 UTC: the event that closes the story comes at 49 hours and 10 minutes
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
    actions = [Action(kind, value, BEGIN_S + at_s, seed=7000 + n) for n, (at_s, kind, value) in enumerate(steps)]
    return Scenario(seed=0, partitions=2, write_timeout_s=4, per_batch=60, actions=tuple(actions))


PLAYED = [pytest.param("kills", marks=pytest.mark.fault("F01")), pytest.param("store", marks=pytest.mark.fault("F22"))]


@pytest.mark.parametrize("name", PLAYED)
def test_every_outcome_that_is_due_is_stored_as_recounted(name, tmp_path, shared_broker, record_property, caplog):
    caplog.set_level(logging.CRITICAL, logger="kafka")  # what pytest keeps of its lines would keep its sockets open
    with WrittenStore() as store, Proxy(store.port) as proxy:
        world = World(story_of(name), tmp_path, shared_broker, store, proxy)
        try:
            world.run()
            found, seen = broken(world), seen_of(world)
        finally:
            world.close()
    gc.collect()
    assert not found, "\n".join(found)
    assert world.exits == []
    missed = [fault.kind for fault in world.injected if not fault.hits]
    assert not missed, f"these faults met nothing: {missed}"
    assert_killed_at_their_marks(world, name)
    assert_much_was_due(seen)
    seconds = [seconds for what, seconds in world.recoveries if what != FIRST_LOAD]
    record_property("recovery_s", max(*seconds, *(fault.back_s or 0 for fault in world.injected)))


def assert_killed_at_their_marks(world, name):
    wanted = [(what, hour) for hour, (kind, what) in STORIES[name].items() if kind == "kill"]
    assert [(kill.mark, (kill.at_s - BEGIN_S) // HOUR_S) for kill in world.kills] == wanted
    for kill in world.kills:
        assert kill.offsets == kill.commits + (kill.mark in WITHIN) or kill.mark == "after keep", kill
        assert kill.is_planned or kill.mark not in WITHIN, kill
        assert (kill.at_s in kill.kept) == (kill.mark == "after keep") or kill.mark == "between batches", kill
    after_keep = [kill for kill in world.kills if kill.mark == "after keep"]  # some 20 ms before the commit
    assert any(kill.offsets > kill.commits for kill in after_keep) or not after_keep, after_keep


def assert_much_was_due(seen):
    """Of each hour of the story each horizon, twice, where the second judgement often finds more."""
    expected = recounted(seen)
    of_place = defaultdict(list)
    for judgement in expected.judged:
        of_place[judgement.horizon, judgement.tick_s].append(judgement)
    ticks = {BEGIN_S + hour * HOUR_S for hour in range(HOURS + 1)}
    assert {tick_s for _, tick_s in of_place} == ticks
    twice = Counter(horizon for (horizon, _), ones in of_place.items() if len(ones) == 2)
    end_s = max(moment.clock_s for moment in expected.moments.values())
    for horizon in seen.regions[0].horizons:
        width_s = HOUR_S * int(horizon.removesuffix("h"))
        assert twice[horizon] == sum(tick_s + width_s + DAY_S + GRACE_S <= end_s for tick_s in ticks) > 0
    first, last = frames_first_written(seen.written), frames_of(seen.points)
    for hour in AGAIN:
        place = "riverton", BEGIN_S + hour * HOUR_S
        assert first[place] != last[place], "the second frame of an hour is as the first"
    changed = Counter(horizon for (horizon, _), ones in of_place.items() if ones[0].came != ones[-1].came)
    assert changed["1h"] > 3, changed
    assert changed["4h"] > 3, changed

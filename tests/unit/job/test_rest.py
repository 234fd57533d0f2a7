"""After an empty batch the job rests, until there is something to do."""

import threading
import time

import pytest

from schemas.records import Entry
from streaming.flow.publish import ASK_EVERY_S
from streaming.flow.rows import Summary
from streaming.job import LONGEST_REST_S, Rest
from streaming.job_health import LONGEST_SILENCE_S
from tests.harness.toy import toy_artifact, toy_frame, toy_published, toy_spec

EMPTY, BUSY = (
    toy_published(3, summaries={"riverton": Summary(as_of_s=6000, ledger={"consumed": consumed}, totals={})})
    for consumed in (0, 1)
)


class World:
    """A clock that goes on only while somebody asks for messages."""

    def __init__(self, now_s, *, message_after_s=float("inf")):
        self.began_s = self.time_s = now_s
        self.message_s = now_s + message_after_s
        self.asked = []

    def now_s(self):
        return self.time_s

    def comes(self, batch, within_s):
        self.asked.append(batch)
        self.time_s = min(self.time_s + within_s, max(self.time_s, self.message_s))
        return self.time_s >= self.message_s

    @property
    def rested_s(self):
        return round(self.time_s - self.began_s, 6)


def rested_s(world, published, *, clock="wall", roster=None):
    rest = Rest(clock=clock, comes=world.comes, now_s=world.now_s)
    rest.take_roster(roster or {})
    rest._has_news.clear()
    with rest.allowed():
        rest.after(published)
    return world.rested_s


@pytest.fixture
def roster(tmp_path):
    specs = [toy_spec(region="riverton"), toy_spec(region="lakeside", tick_s=7200)]
    return {spec.region: Entry(str(toy_artifact(tmp_path, spec)), "v", "f") for spec in specs}


def test_it_lasts_until_the_next_tick_of_any_region_the_next_message_or_its_limit(roster):
    assert rested_s(World(6000.0 + 52.5), EMPTY, roster=roster) == 7.5
    assert rested_s(World(6000.0 + 12.5), EMPTY, roster=roster) == LONGEST_REST_S
    assert rested_s(World(6000.0 + 52.5), EMPTY, roster=roster, clock="event") == LONGEST_REST_S
    world = World(6000.0, message_after_s=3.25)
    assert rested_s(world, EMPTY, roster=roster) == 3.25
    assert set(world.asked) == {3}


def test_a_batch_that_took_until_after_the_next_tick_is_followed_by_the_next_one_at_once(roster):
    assert rested_s(World(6000.0 + 61), EMPTY, roster=roster) == 0


def test_a_batch_with_a_message_or_scores_is_followed_by_the_next_one_at_once():
    frame = toy_published(3, frames={"riverton": toy_frame(toy_spec())})
    for published in (BUSY, frame):
        assert rested_s(World(6000.0), published) == 0


def test_health_and_the_store_are_not_kept_waiting():
    """A rest ends just before the store is asked; after the next one it is."""
    assert ASK_EVERY_S + LONGEST_REST_S < LONGEST_SILENCE_S


def test_another_roster_ends_it_and_nothing_rests_when_the_query_is_about_to_stop(roster):
    def comes(batch, within_s):
        time.sleep(0.01)
        return False

    rest = Rest(clock="event", comes=comes)
    rest.after(EMPTY)  # not allowed: it returns at once
    with rest.allowed():
        threading.Timer(0.2, rest.take_roster, [roster]).start()
        rest.after(EMPTY)
        rest.take_roster(dict(roster))  # the same one
        threading.Timer(0.2, lambda: setattr(rest, "_is_allowed", False)).start()
        rest.after(EMPTY)

"""Counts of a finished day against the final revisions of its incidents, recounted in plain Python."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.counting.blobs import Journal, export_state, restore_state
from models.counting.count_state import BIN_S, CountState, counts_of_day, newest_closed, oldest_day
from schemas.errors import CheckpointError
from schemas.spec import DAY_S
from tests.harness.toy import toy_spec
from tests.unit.counting.test_count_state import CALL, HOUR, NOW, SPEC, event, incidents, recount, store

FIRST_DAY = NOW // DAY_S
MIDNIGHT = FIRST_DAY * DAY_S


@st.composite
def weeks(draw):
    """Batches over ten days, late, repeated, corrected and cancelled ones among them, as (clock, incidents)."""
    clock, batches = MIDNIGHT, []
    for events in draw(st.lists(st.lists(event, max_size=6), min_size=4, max_size=24)):
        clock += draw(st.sampled_from([1, 299, 3600, 5 * HOUR, 11 * HOUR, 23 * HOUR]))
        batches.append((clock, incidents(events, clock)))
    return batches


def kept_at_midnights(batches, *, fold_after, restarts):
    """The counts as a job keeps them before its first batch of each day: {day: blobs}. It restarts now and then."""
    states, stored, day = {}, {}, 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("models.counting.blobs._FOLD_SEGMENTS", fold_after)
        journal, changes = Journal.start(CountState(SPEC))
        stored.update(changes.puts)
        for number, (clock, batch) in enumerate(batches):
            if number in restarts:
                journal = Journal.restore(SPEC, stored, as_of_s=journal.state.as_of_s, digest=journal.digest)
            if clock // DAY_S > day:
                day = clock // DAY_S
                states[day] = export_state(journal.state)
            store(journal.record(journal.state.apply(batch, clock).changed), stored)
    return states


def rows(counts):
    """{(cell, category, bin since 1970): count}"""
    columns = (counts.cell, counts.category, counts.bin, counts.count)
    first = counts.day * DAY_S // BIN_S
    return {(cell, kind, first + bin_): n for cell, kind, bin_, n in zip(*map(np.ndarray.tolist, columns), strict=True)}


def by_hour(counts):
    hours = Counter()
    for (cell, kind, bin_), n in counts.items():
        hours[cell, kind, bin_ * BIN_S // HOUR] += n
    return hours


@settings(max_examples=200, deadline=None)
@given(weeks(), st.integers(1, 3), st.sets(st.integers(0, 23)))
def test_a_closed_day_equals_a_recount_of_the_final_revisions(batches, fold_after, restarts):
    states = kept_at_midnights(batches, fold_after=fold_after, restarts=restarts)
    done = set()
    for kept_on, blobs in states.items():
        clock, state = kept_on * DAY_S, restore_state(SPEC, blobs)
        _, total = recount([batch for batch in batches if batch[0] < clock])
        for day in range(FIRST_DAY - 3, kept_on):
            if day in done or day > newest_closed(clock, SPEC):
                continue
            done.add(day)
            counts = counts_of_day(state, day, clock_s=clock)
            expected = {
                (cell, kind, bin_): n
                for (width, bin_, cell, kind), n in total.items()
                if width == BIN_S and bin_ * BIN_S // DAY_S == day
            }
            given = rows(counts)
            assert by_hour(given) == by_hour(expected)
            moved = Counter(expected)
            moved.subtract(given)
            assert sum(map(abs, moved.values())) <= 2 * counts.by_hour
            if not counts.by_hour:
                assert given == expected


@pytest.mark.parametrize("restarts", [set(), set(range(24))], ids=["one process", "a restart before each batch"])
@settings(max_examples=60, deadline=None)
@given(batches=weeks())
def test_with_ids_that_are_used_once_every_bin_is_known(batches, restarts):
    """The records of a day are all there when its counts are kept for the last time before the next day closes."""
    for number, (_, batch) in enumerate(batches):
        batch.key[:] = np.arange(len(batch)) + 1000 * number
    states = kept_at_midnights(batches, fold_after=1, restarts=restarts)
    done = set()
    for kept_on, blobs in states.items():
        for day in range(FIRST_DAY - 3, kept_on):
            if day not in done and day <= newest_closed(kept_on * DAY_S, SPEC):
                done.add(day)
                assert counts_of_day(restore_state(SPEC, blobs), day, clock_s=kept_on * DAY_S).by_hour == 0


def happened(*times_s):
    """A state that was told of one incident at each of these times, each with an id of its own."""
    state = CountState(SPEC)
    for key, at_s in enumerate(times_s, start=1):
        state.apply(incidents([{**CALL, "key": key, "ago_s": 0}], at_s), at_s)
    return state


def test_a_day_is_closed_when_its_last_second_is_late():
    state, last_s = CountState(SPEC), MIDNIGHT + DAY_S - 1
    closing_s = last_s + SPEC.registry_keep_s + 1
    assert newest_closed(closing_s - 1, SPEC) == FIRST_DAY - 1
    assert newest_closed(closing_s, SPEC) == FIRST_DAY
    for clock_s, refused in ((closing_s - 1, 0), (closing_s, 1)):
        said = state.apply(incidents([{**CALL, "key": clock_s, "ago_s": clock_s - last_s}], clock_s), clock_s)
        assert len(said.older_than_memory) == refused


def test_the_first_and_last_second_are_in_the_first_and_last_bin_and_what_is_forgotten_in_its_hours_first():
    state = happened(MIDNIGHT - 1, MIDNIGHT, MIDNIGHT + DAY_S - 1, MIDNIGHT + DAY_S)
    counts = counts_of_day(state, FIRST_DAY, clock_s=MIDNIGHT + 3 * DAY_S)
    assert (counts.bin.tolist(), counts.incidents) == ([0, DAY_S // BIN_S - 1], 2)
    state = happened(MIDNIGHT + 5 * HOUR + 50 * 60, MIDNIGHT + 5 * HOUR + 55 * 60, MIDNIGHT + DAY_S)
    state.registry.expire(MIDNIGHT + DAY_S)
    counts = counts_of_day(state, FIRST_DAY, clock_s=MIDNIGHT + 3 * DAY_S)
    assert (counts.bin.tolist(), counts.count.tolist(), counts.by_hour) == ([60], [2], 2)
    state.levels["hour"].ring[:] = 0
    with pytest.raises(CheckpointError, match="1 incidents of day"):  # a record that is not counted is damage
        counts_of_day(state, FIRST_DAY + 1, clock_s=MIDNIGHT + 3 * DAY_S)


def test_of_a_day_that_is_not_all_there_only_the_hours_that_are_kept_and_were_reached_count():
    """The level of hours is a ring: the place of an hour that is not there holds one of another day."""
    state = CountState(SPEC)
    state.advance(MIDNIGHT + 12 * HOUR)
    level, places = state.levels["hour"], np.array([5, 6])
    hours = np.arange(level.oldest, level.newest + level.ahead + 1)
    level.add(np.repeat(hours * HOUR, 2), np.tile(places, len(hours)), 1)
    for day, expected in ((FIRST_DAY, hours[-14:]), (oldest_day(state) - 1, hours[:11]), (FIRST_DAY + 1, [])):
        counts = counts_of_day(state, day, clock_s=MIDNIGHT)
        assert rows(counts) == {(place // 2, place % 2, int(hour) * 12): 1 for hour in expected for place in (5, 6)}
        assert counts.by_hour == 2 * len(expected)
        kinds = {name: getattr(counts, name).dtype.str[1:] for name in ("cell", "category", "bin", "count")}
        assert kinds == {"cell": "i4", "category": "i2", "bin": "i2", "count": "i4"}


def test_an_incident_that_was_moved_back_in_time_can_still_be_moved():
    later_s = MIDNIGHT + DAY_S + HOUR
    state = happened(later_s)
    back = incidents([{**CALL, "key": 1, "revision": 1, "ago_s": 2 * HOUR}], later_s)
    state.apply(back, later_s)
    last_s = later_s + SPEC.registry_keep_s
    assert [counts_of_day(state, FIRST_DAY, clock_s=at_s).open for at_s in (last_s, last_s + 1)] == [1, 0]


def test_a_day_of_which_an_hour_is_gone_is_older_than_the_oldest():
    keep = next(level.keep for level in SPEC.levels if level.name == "hour")
    state = CountState(SPEC)
    state.advance(MIDNIGHT + keep * HOUR - 1)  # the hour of MIDNIGHT is the oldest
    assert oldest_day(state) == FIRST_DAY
    state.advance(MIDNIGHT + keep * HOUR)
    assert oldest_day(state) == FIRST_DAY + 1


@pytest.mark.parametrize("late_limit_s", [300, 5 * HOUR, DAY_S, 7 * DAY_S])
def test_records_are_kept_until_the_start_of_the_day_at_which_their_own_is_closed(late_limit_s):
    spec = toy_spec(late_limit_s=late_limit_s)
    closed_on = next(day for day in range(FIRST_DAY, FIRST_DAY + 12) if newest_closed(day * DAY_S, spec) == FIRST_DAY)
    state = CountState(spec)
    state.advance(closed_on * DAY_S - 1)
    assert state.drop_before_s <= MIDNIGHT
    state.advance(closed_on * DAY_S)
    assert state.drop_before_s > MIDNIGHT - DAY_S
    assert state.drop_before_s <= state.forget_before_s

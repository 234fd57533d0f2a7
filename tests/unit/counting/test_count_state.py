"""CountState against a recount of the final revisions, on random streams in random batches."""

from collections import Counter, defaultdict
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.counting.blobs import Journal
from models.counting.count_state import CountState
from schemas.incidents import CANCELLED, COUNTED_ORIGIN, Incidents
from schemas.spec import DAY_S
from tests.harness.toy import toy_spec

NOW = 1_700_000_000
HOUR = 3600
SPEC = toy_spec(2, 2)
GONE = COUNTED_ORIGIN | CANCELLED

event = st.fixed_dictionaries(
    {
        "key": st.integers(0, 6).map(lambda n: (n * 0x9E3779B97F4A7C15) % 2**64),
        "revision": st.integers(0, 3),
        "ago_s": st.one_of(
            st.integers(-300, 3 * 3600), st.integers(0, 47 * 3600), st.sampled_from([-301, -300, 172_800, 172_801])
        ),
        "cell": st.integers(0, 3),
        "category": st.integers(0, 1),
        "flags": st.sampled_from([0, COUNTED_ORIGIN, COUNTED_ORIGIN, GONE]),
    }
)


def incidents(events, clock, first_offset=0):
    count = len(events)
    columns = {name: [e[name] for e in events] for name in ("key", "revision", "cell", "category", "flags")}
    columns |= {
        "occurred_s": [clock - e["ago_s"] for e in events],
        "place": np.array([e.get("place", (0, 0)) for e in events]).reshape(count, 2),
        "received_ms": [clock * 1000] * count,
        "partition": [0] * count,
        "kafka_offset": range(first_offset, first_offset + count),
        "kafka_time_ms": [clock * 1000] * count,
    }
    empty = Incidents.empty()
    return Incidents(**{f.name: np.array(columns[f.name], getattr(empty, f.name).dtype) for f in fields(Incidents)})


def recount(batches, history_end_s=0, repeats_of=lambda live: ()):
    """The contract in plain Python: the ledger, and what counts.

    An incident is known until its latest time is older than the memory, and then its count is final. Until its own
    time is older, whether it repeats another follows from all incidents whose ids are not in use again.
    repeats_of: gives the keys of (key, occurred_s, category, place) that repeat another.
    """
    incidents_by_key, ledger, final = {}, Counter(), []
    for as_of, batch in batches:
        since_s = as_of - 172_800
        told = []
        for row in zip(*(getattr(batch, f.name).tolist() for f in fields(Incidents)), strict=True):
            key, revision, occurred, _, cell, category, flags, place, *_ = row
            before = incidents_by_key.get(key)
            if occurred > as_of + 300 or occurred < since_s:
                ledger["future" if occurred > as_of else "late"] += 1
                continue
            if before and before["latest"] < since_s:
                final.append(before)
                before = None
            latest = max(occurred, before["latest"] if before else occurred)
            if before and revision <= before["revision"]:
                before["latest"] = latest
                ledger["duplicate"] += 1
                continue
            of_history = before["of_history"] if before else occurred < history_end_s
            live = flags == COUNTED_ORIGIN and not of_history
            incidents_by_key[key] = {
                **{"key": key, "revision": revision, "occurred": occurred, "cell": cell, "category": category},
                **{"place": tuple(place), "latest": latest, "of_history": of_history, "live": live, "repeat": False},
            }
            excluded = of_history or not flags & COUNTED_ORIGIN
            outcome = "counted" if before is None and not flags & CANCELLED else "corrected"
            told.append((key, "excluded" if excluded else outcome))
        live = [
            (k, incident["occurred"], incident["category"], incident["place"])
            for k, incident in incidents_by_key.items()
            if incident["live"]
        ]
        repeats = repeats_of(live)
        for key, incident in incidents_by_key.items():
            if incident["occurred"] >= since_s:
                incident["repeat"] = key in repeats
        for key, outcome in told:
            ledger["repeated" if incidents_by_key[key]["repeat"] and outcome != "excluded" else outcome] += 1
    total = defaultdict(int)
    for incident in [*incidents_by_key.values(), *final]:
        if incident["live"] and not incident["repeat"]:
            for width in (300, 3600, DAY_S):
                total[width, incident["occurred"] // width, incident["cell"], incident["category"]] += 1
    return ledger, total


history_ends = st.sampled_from([0, NOW - 20 * HOUR, NOW])


def beginning(history_end_s, spec=SPEC):
    """Counts that begin with a history up to then. It is empty here, so that all counts are the stream's."""
    state = CountState(spec)
    state.history_end_s = history_end_s
    state.first_day = history_end_s // DAY_S + 7
    return state


@st.composite
def streams(draw, event=event, most=6, steps_s=(0, 1, 299, 300, 3600, 3600, 22 * 3600, 27 * 3600, 60 * 86_400)):
    """The strategy draws batches of events; the clock only goes forward, also beyond what is remembered."""
    clock, batches, offset = NOW, [], 0
    for events in draw(st.lists(st.lists(event, max_size=8), min_size=1, max_size=most)):
        clock += draw(st.sampled_from(steps_s))
        batches.append((clock, incidents(events, clock, offset)))
        offset += len(events)
    return batches


@st.composite
def retold_streams(draw):
    """Batches with corrections over the whole memory, and messages sent again up to its edge: (clock, new, again)."""
    clock, batches, sent = NOW, [], []
    for events in draw(st.lists(st.lists(event, max_size=4), min_size=2, max_size=7)):
        clock += draw(st.sampled_from([0, 3600, 22 * 3600, 24 * 3600, 47 * 3600, 172_799, 172_800, 172_801]))
        again = draw(st.lists(st.sampled_from(sent), max_size=4)) if sent else []
        batch = incidents(events, clock)
        new = batch.select((batch.occurred_s >= clock - 172_800) & (batch.occurred_s <= clock + 300))
        sent += [new.select(np.array([number])) for number in range(len(new))]
        batches.append((clock, new, again))
    return batches


def totals(applied):
    return sum(
        (Counter({**a.outcomes, "future": len(a.ahead_of_clock), "late": len(a.older_than_memory)}) for a in applied),
        Counter(),
    )


def assert_equal_to(state, counts):
    for name, width in (("pane", 300), ("hour", 3600), ("day", 86_400)):
        level = state.levels[name]
        for number in range(level.oldest, level.newest + level.ahead + 1):
            counted = state.shape(level.ring[number % len(level.ring)])
            for cell in range(4):
                for category in range(2):
                    assert counted[cell, category] == counts[width, number, cell, category], (name, number)


def assert_same_rings(state, other):
    for name, level in state.levels.items():
        np.testing.assert_array_equal(level.ring, other.levels[name].ring)
        assert level.newest == other.levels[name].newest


def assert_counted(bins, hours):
    """One incident in each of these hours after NOW, and no other."""
    assert np.flatnonzero(bins).tolist() == [(NOW // HOUR + after) % len(bins) for after in hours]
    assert bins.sum() == len(hours)


def store(changes, stored):
    stored.update(changes.puts)
    for key in changes.deletes:
        del stored[key]


@pytest.mark.fault("F15")
@settings(max_examples=25, deadline=None)
@given(streams(), history_ends)
def test_counts_and_ledger_equal_a_recount_of_the_final_revisions(batches, history_end_s):
    state = beginning(history_end_s)
    applied = [state.apply(batch, as_of) for as_of, batch in batches]
    ledger, counts = recount(batches, history_end_s)
    assert totals(applied) == ledger
    assert_equal_to(state, counts)


@settings(max_examples=100, deadline=None)
@given(retold_streams(), history_ends)
def test_a_message_that_is_sent_again_is_a_duplicate_or_late_and_changes_no_count(batches, history_end_s):
    retold, once = beginning(history_end_s), beginning(history_end_s)
    for clock, new, again in batches:
        for state in (retold, once):
            state.apply(new, clock)
        for message in again:
            applied = retold.apply(message, clock)
            assert applied.outcomes["duplicate"] + len(applied.older_than_memory) == 1
    sent = [(clock, part) for clock, new, again in batches for part in (new, *again)]
    for state in (retold, once):
        assert_equal_to(state, recount(sent, history_end_s)[1])


CALL = {"key": 5, "revision": 0, "ago_s": 0, "cell": 1, "category": 0, "flags": COUNTED_ORIGIN}
MOVED = {"revision": 1, "ago_s": 9}
BACK = {**CALL, "revision": 1, "ago_s": 23 * HOUR}


@pytest.mark.parametrize(
    ("second", "third", "outcome", "hours"),
    [
        (BACK, CALL, "duplicate", [-23]),
        (BACK, BACK, "late", [-23]),
        (BACK, {**CALL, "revision": 2}, "corrected", [0]),
        (BACK, {**CALL, "revision": 2, "ago_s": -22 * HOUR}, "corrected", [22]),
        (BACK, {**CALL, "revision": 2, "flags": GONE}, "corrected", []),
        (BACK, {**CALL, "revision": 2, "flags": 0}, "excluded", []),
        ({**BACK, "flags": GONE}, CALL, "duplicate", []),
        ({**BACK, "flags": GONE}, {**CALL, "revision": 2}, "corrected", [0]),
    ],
)
@pytest.mark.parametrize("restarts", [(), (1, 2), (2,)])
def test_an_incident_corrected_to_an_earlier_time_is_known_as_long_as_its_first_message(
    second, third, outcome, hours, restarts, monkeypatch
):
    """The third message comes 26 hours after the first, without a restart, or with one before these batches.

    `ago_s` is before the first one's time, `hours` are after it.
    """
    clock = NOW + 26 * HOUR
    other = {**CALL, "key": 6, "category": 1, "ago_s": -25 * HOUR}
    journal, changes = Journal.start(CountState(SPEC))
    stored = dict(changes.puts)
    monkeypatch.setattr("models.counting.blobs._FOLD_SEGMENTS", 1)
    for number, (batch, at) in enumerate((([CALL, second], NOW), ([other], clock), ([third], clock))):
        if number in restarts:
            journal = Journal.restore(SPEC, stored, as_of_s=at, digest=journal.digest)
        applied = journal.state.apply(incidents(batch, NOW), at)
        store(journal.record(applied.changed), stored)
    assert totals([applied]) == {outcome: 1}
    assert_counted(journal.state.levels["hour"].ring[:, ::2].sum(axis=1), hours)


@pytest.mark.parametrize(
    ("messages", "outcomes", "hours"),
    [
        ([{"ago_s": 1}, {"ago_s": 1}], ["excluded", "duplicate"], []),
        ([{"ago_s": 0}, {"ago_s": 0}], ["counted", "duplicate"], [0]),
        ([{"ago_s": 1}, {"revision": 1, "ago_s": -HOUR}, {"ago_s": 1}], ["excluded", "excluded", "duplicate"], []),
        ([{"ago_s": 1}, {"revision": 1, "flags": GONE}], ["excluded", "excluded"], []),
        ([{"ago_s": 1, "flags": GONE}, {"revision": 1}], ["excluded", "excluded"], []),
        ([{"ago_s": 1, "revision": 2}, {"revision": 1}], ["excluded", "duplicate"], []),
        ([{}, {"revision": 1, "ago_s": 2 * HOUR}, {}], ["counted", "corrected", "duplicate"], [-2]),
        ([{}, MOVED, {"revision": 2, "ago_s": -HOUR}], ["counted", "corrected", "corrected"], [1]),
        ([{}, MOVED, {"revision": 2, "ago_s": 9, "flags": GONE}], ["counted", "corrected", "corrected"], []),
    ],
)
@pytest.mark.parametrize("together", [False, True])
def test_an_incident_counts_once_in_the_history_or_in_the_stream(messages, outcomes, hours, together):
    """The history ends at NOW; `ago_s` is before that, `hours` are after it."""
    state, clock = beginning(NOW), NOW + 2 * HOUR
    sent = incidents([{**CALL, **message} for message in messages], NOW)
    parts = [sent] if together else [sent.select(np.array([number])) for number in range(len(sent))]
    assert totals([state.apply(part, clock) for part in parts]) == Counter(outcomes)
    assert_counted(state.levels["hour"].ring.sum(axis=1), hours)


@pytest.mark.parametrize(("later", "outcome", "total"), [(172_800, "duplicate", 1), (172_801, "counted", 2)])
@pytest.mark.parametrize("together", [False, True])
def test_an_incident_is_forgotten_when_its_latest_time_is_and_keeps_its_count(later, outcome, total, together):
    call, state, clock = {**BACK, "revision": 3}, CountState(SPEC), NOW + later
    overtaken = {**call, "revision": 0, "ago_s": 0}
    for batch in ([call, overtaken],) if together else ([call], [overtaken]):
        assert len(state.apply(incidents(batch, NOW), NOW).changed) == 1
        assert len(state.apply(incidents(batch, NOW), NOW).changed) == 0
    applied = state.apply(incidents([{**call, "revision": 1, "ago_s": 0}], clock), clock)
    assert applied.outcomes[outcome] == 1
    assert state.levels["hour"].sum_of_newest(15 * 24).sum() == total


def test_of_a_new_state_nothing_is_known():
    state = CountState(SPEC)
    assert (state.as_of_s, state.history_end_s, state.first_day, len(state.registry)) == (0, 0, 0, 0)


@pytest.mark.fault("F14")
@settings(max_examples=25, deadline=None)
@given(streams(), history_ends, st.randoms(use_true_random=False))
def test_batch_boundaries_change_nothing(batches, history_end_s, random):
    whole = Incidents.concatenate([batch for _, batch in batches])
    once = beginning(history_end_s)
    once.apply(whole, batches[-1][0])
    cuts = sorted(random.sample(range(len(whole) + 1), min(3, len(whole))))
    split = beginning(history_end_s)
    for start, stop in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        split.apply(whole.select(np.arange(start, stop)), batches[-1][0])
    assert_same_rings(once, split)


@pytest.mark.parametrize(
    ("message", "newest"),
    [({}, NOW), ({"flags": 0}, NOW - HOUR), ({"flags": GONE}, NOW - HOUR), ({"ago_s": 30 * HOUR}, NOW - HOUR)],
)
def test_only_what_counts_says_that_a_feed_is_alive(message, newest):
    older = {**CALL, "key": 6, "ago_s": HOUR}
    applied = beginning(NOW - 26 * HOUR).apply(incidents([older, {**CALL, **message}], NOW), NOW)
    assert applied.newest_counted_s == newest


def test_a_feed_of_what_is_not_counted_is_silent():
    sent = incidents([{**CALL, "flags": 0}, {**CALL, "key": 7, "ago_s": 30 * HOUR}], NOW)
    assert beginning(NOW - 26 * HOUR).apply(sent, NOW).newest_counted_s == 0

"""Repeated calls in the stream, against a recount that looks at every pair of the calls that are known."""

import math
from collections import Counter, defaultdict
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.counting.blobs import Journal, export_state, restore_state
from models.counting.count_state import CountState
from models.counting.repeated_calls import Calls, repeats
from schemas.incidents import CANCELLED, COUNTED_ORIGIN, NO_PLACE, Incidents
from schemas.spec import DAY_S
from tests.harness.toy import toy_spec
from tests.unit.counting.test_count_state import (
    NOW,
    assert_equal_to,
    assert_same_rings,
    incidents,
    store,
    totals,
)  # fmt: skip

SPEC = toy_spec(2, 2, merge="repeated_calls")
KEEP_S = 172_800
GONE = COUNTED_ORIGIN | CANCELLED
NORTH = 41_0000000
M = 90  # steps of latitude to a metre, about
HISTORY_ENDS = st.sampled_from([0, NOW - 20 * 3600, NOW])

call = st.fixed_dictionaries(
    {
        "key": st.integers(0, 11).map(lambda n: (n * 0x9E3779B97F4A7C15) % 2**64),
        "revision": st.integers(0, 3),
        "ago_s": st.one_of(
            st.integers(0, 2400),
            st.sampled_from([0, 0, 900, 901, 1800]),
            st.sampled_from([KEEP_S, KEEP_S - 1, KEEP_S - 900, KEEP_S - 901, KEEP_S - 450, KEEP_S + 1]),
        ),
        "cell": st.integers(0, 3),
        "category": st.sampled_from([0, 0, 0, 1]),
        "flags": st.sampled_from([0, *[COUNTED_ORIGIN] * 5, GONE]),
        "place": st.sampled_from(
            [(NORTH + north * 120 * M, -87_0000000 + east) for north in range(4) for east in (0, 1500)]
        ),
    }
)


@st.composite
def streams(draw):
    """Batches of calls within some 600 m, with a clock that stands, creeps, or goes to the edge of the memory."""
    clock, batches, offset = NOW, [], 0
    for calls in draw(st.lists(st.lists(call, max_size=8), min_size=1, max_size=7)):
        clock += draw(st.sampled_from([0, 0, 1, 300, 900, 3600, KEEP_S - 1800, KEEP_S - 900, KEEP_S]))
        batches.append((clock, incidents(calls, clock, offset)))
        offset += len(calls)
    return batches


def metres(one, other):
    """Along the great circle, by the angle between two vectors."""

    def vector(place):
        lat, lon = (math.radians(steps / 1e7) for steps in place)
        return np.array([math.cos(lat) * math.cos(lon), math.cos(lat) * math.sin(lon), math.sin(lat)])

    a, b = vector(one), vector(other)
    return 6_371_008.8 * math.atan2(float(np.linalg.norm(np.cross(a, b))), float(a @ b))


def repeats_of(calls):
    """The calls that an earlier one is near to. calls: (key, occurred_s, category, place)."""
    return {
        key
        for key, at_s, category, place in calls
        if any(
            (at_s - 900, 0) <= (earlier_s, other) < (at_s, key) and kind == category and metres(place, where) <= 200
            for other, earlier_s, kind, where in calls
        )
    }


def recount(batches, history_end_s=0):
    """The contract in plain Python: the ledger, what counts, and after each batch which incidents are repeats.

    An incident is known until its latest time is older than the memory, and then its count is final. Until its own
    time is older, whether it repeats another follows from all incidents whose ids are not in use again.
    """
    known, ledger, final, after = {}, Counter(), [], []
    for as_of, batch in batches:
        since_s = as_of - KEEP_S
        told = []
        for row in zip(*(getattr(batch, f.name).tolist() for f in fields(Incidents)), strict=True):
            key, revision, occurred, _, cell, category, flags, place, *_ = row
            before = known.get(key)
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
            known[key] = {
                **{"key": key, "revision": revision, "occurred": occurred, "cell": cell, "category": category},
                **{"place": tuple(place), "latest": latest, "of_history": of_history, "live": live, "repeat": False},
            }
            excluded = of_history or not flags & COUNTED_ORIGIN
            outcome = "counted" if before is None and not flags & CANCELLED else "corrected"
            told.append((key, "excluded" if excluded else outcome))
        live = [(k, one["occurred"], one["category"], one["place"]) for k, one in known.items() if one["live"]]
        found = repeats_of(live)
        for key, one in known.items():
            if one["occurred"] >= since_s:
                one["repeat"] = key in found
        for key, outcome in told:
            ledger["repeated" if known[key]["repeat"] and outcome != "excluded" else outcome] += 1
        after.append({key for key, one in known.items() if one["repeat"]})
    total = defaultdict(int)
    for one in [*known.values(), *final]:
        if one["live"] and not one["repeat"]:
            for width in (300, 3600, DAY_S):
                total[width, one["occurred"] // width, one["cell"], one["category"]] += 1
    return ledger, total, after


def beginning(history_end_s):
    state = CountState(SPEC)
    state.history_end_s = history_end_s
    return state


@settings(max_examples=40, deadline=None)
@given(streams(), HISTORY_ENDS)
def test_counts_and_ledger_equal_a_recount_of_every_pair(batches, history_end_s):
    state = beginning(history_end_s)
    applied = [state.apply(batch, as_of) for as_of, batch in batches]
    ledger, counts, _ = recount(batches, history_end_s)
    assert totals(applied) == +ledger
    assert_equal_to(state, counts)


@settings(max_examples=30, deadline=None)
@given(streams(), st.lists(st.booleans(), min_size=7, max_size=7), st.integers(1, 3), HISTORY_ENDS)
def test_a_restart_changes_nothing_nor_does_it_matter_what_the_registry_has_dropped(
    batches, restarts, fold_after, history_end_s
):
    stored = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("models.counting.blobs._FOLD_SEGMENTS", fold_after)
        journal, changes = Journal.start(beginning(history_end_s))
        store(changes, stored)
        undisturbed = beginning(history_end_s)  # never drops a record
        for (as_of, batch), restart in zip(batches, restarts, strict=False):
            store(journal.record(journal.state.apply(batch, as_of).changed), stored)
            undisturbed.apply(batch, as_of)
            if restart:
                journal = Journal.restore(SPEC, stored, as_of_s=journal.state.as_of_s, digest=journal.digest)
            assert_same_rings(undisturbed, journal.state)
    assert_same_rings(undisturbed, Journal.restore(SPEC, stored, as_of_s=as_of, digest=journal.digest).state)
    assert_same_rings(undisturbed, restore_state(SPEC, export_state(undisturbed)))


@settings(max_examples=30, deadline=None)
@given(streams(), st.lists(st.booleans(), min_size=7, max_size=7))
def test_a_journal_that_lags_behind_follows_with_the_same_repeats(batches, turns):
    stored = {}
    journal, changes = Journal.start(CountState(SPEC))
    stored.update(changes.puts)
    other = Journal.restore(SPEC, stored, as_of_s=0, digest=journal.digest)
    for (as_of, batch), turn in zip(batches, turns, strict=False):
        if turn:
            journal, other = other, journal
        while journal.next_key in stored:
            assert journal.follow(stored[journal.next_key])
        stored.update(journal.record(journal.state.apply(batch, as_of).changed).puts)
    while other.next_key in stored:
        assert other.follow(stored[other.next_key])
    other.state.advance(journal.state.as_of_s)
    assert_same_rings(journal.state, other.state)


@settings(max_examples=30, deadline=None)
@given(streams(), HISTORY_ENDS, st.randoms(use_true_random=False))
def test_neither_order_nor_batches_matter_where_each_incident_has_one_message(batches, history_end_s, random):
    clock = batches[-1][0]
    whole = Incidents.concatenate([batch for _, batch in batches])
    _, first = np.unique(whole.key, return_index=True)
    whole = whole.select(np.sort(first))
    once, split = beginning(history_end_s), beginning(history_end_s)
    for state in (once, split):
        state.advance(clock)
    once.apply(whole, clock)
    order = random.sample(range(len(whole)), len(whole))
    for start in range(0, len(whole), 2):
        split.apply(whole.select(np.array(order[start : start + 2])), clock)
    assert_same_rings(once, split)


@settings(max_examples=30, deadline=None)
@given(streams())
def test_what_a_batch_moved_leads_from_the_counts_before_to_those_after(batches):
    """So a frame's counts, which are moved on by them, stay equal: also for incidents that no message named."""
    state, moved = CountState(SPEC), CountState(SPEC)
    for as_of, batch in batches:
        applied = state.apply(batch, as_of)
        moved.advance(as_of)
        moved.move(applied.moved)
        assert_same_rings(state, moved)


@settings(max_examples=30, deadline=None)
@given(streams())
def test_without_merging_the_places_change_nothing_and_are_not_kept(batches):
    plain, merging = CountState(toy_spec(2, 2)), CountState(SPEC)
    for as_of, batch in batches:
        assert plain.apply(batch, as_of).outcomes["repeated"] == 0
        merging.apply(batch, as_of)
    assert len(plain.registry) == len(merging.registry)
    blobs = export_state(plain)
    assert len(blobs["r:0000000000"]) == 35 * len(plain.registry)
    assert len(export_state(merging)["r:0000000000"]) == 43 * len(plain.registry)
    assert blobs["layout"] == b"\x02"


def counted(*batches, spec=SPEC, history_end_s=0):
    """How many incidents count after the batches, each of calls; and the outcomes of the last one."""
    state = CountState(spec)
    state.history_end_s = history_end_s
    for calls in batches:
        applied = state.apply(incidents([{**CALL, **one} for one in calls], NOW), NOW)
    outcomes = {name: count for name, count in applied.outcomes.items() if count}
    return int(state.levels["hour"].ring.sum()), outcomes


CALL = {"key": 5, "revision": 0, "ago_s": 0, "cell": 1, "category": 0, "flags": COUNTED_ORIGIN, "place": (NORTH, 0)}
SECOND = {"key": 6, "ago_s": -200}


@pytest.mark.parametrize(
    ("batches", "count", "outcomes"),
    [
        ([[{}, SECOND]], 1, {"counted": 1, "repeated": 1}),
        ([[SECOND], [{}]], 1, {"counted": 1}),  # the earlier one is told late
        ([[{}], [SECOND], [{"revision": 1, "flags": GONE}]], 1, {"corrected": 1}),  # the repeat takes its place
        ([[{}], [SECOND], [{**SECOND, "revision": 1, "category": 1}]], 2, {"corrected": 1}),
        ([[{}], [{**SECOND, "category": 1}], [{**SECOND, "revision": 1}]], 1, {"repeated": 1}),
        ([[{}], [SECOND], [{**SECOND, "revision": 1, "place": (NORTH + 300 * M, 0)}]], 2, {"corrected": 1}),
        ([[{}], [SECOND], [{**SECOND, "revision": 1, "flags": GONE}]], 1, {"corrected": 1}),
        ([[{"ago_s": 900}], [{"key": 6}]], 1, {"repeated": 1}),
        ([[{"ago_s": 901}], [{"key": 6}]], 2, {"counted": 1}),
        ([[{"key": 6}], [{"ago_s": 900}]], 1, {"counted": 1}),
        ([[{}], [SECOND], [SECOND]], 1, {"duplicate": 1}),
        ([[{}], [{**SECOND, "flags": 0}]], 1, {"excluded": 1}),
        ([[{"flags": 0}], [SECOND]], 1, {"counted": 1}),  # what does not count is repeated by nothing
        ([[{"place": (NO_PLACE, NO_PLACE)}], [SECOND]], 2, {"counted": 1}),
        ([[{"place": (NO_PLACE, NO_PLACE)}], [{**SECOND, "place": (NO_PLACE, NO_PLACE)}]], 2, {"counted": 1}),
        ([[{}], [SECOND], [{"revision": 1, "ago_s": 3000}]], 2, {"corrected": 1}),  # the first one was much earlier
        ([[{}], [{**SECOND, "flags": 0}, {**SECOND, "revision": 1}]], 1, {"excluded": 1, "repeated": 1}),
    ],
)
def test_a_call_that_repeats_another_does_not_count(batches, count, outcomes):
    assert counted(*batches) == (count, outcomes)
    told = [one for batch in batches for one in batch]
    assert counted(told)[0] == count
    calls = sum(flags == COUNTED_ORIGIN for flags in {one.get("key", 5): one.get("flags", 1) for one in told}.values())
    assert counted(told, spec=toy_spec(2, 2))[0] == calls


def test_a_call_that_the_history_owns_is_repeated_by_nothing():
    """Its count is in the history or nowhere: else a call soon after it would be lost."""
    assert counted([{"ago_s": 100}], [{"key": 6}], history_end_s=NOW - 50) == (1, {"counted": 1})


@pytest.mark.parametrize("restart", [False, True])
def test_a_call_at_the_edge_of_the_memory_still_finds_the_one_that_it_repeats(restart, monkeypatch):
    """At midnight, when most is dropped: what nobody may correct any more may still be repeated."""
    monkeypatch.setattr("models.counting.blobs._FOLD_SEGMENTS", 1)
    journal, changes = Journal.start(CountState(SPEC))
    stored, midnight_s = dict(changes.puts), (NOW // DAY_S + 3) * DAY_S
    edge_s = midnight_s - KEEP_S
    first, other, again = (
        incidents([{**CALL, "key": key, "category": kind, "ago_s": 0}], at_s)
        for key, kind, at_s in ((1, 0, edge_s - 700), (2, 1, midnight_s), (3, 0, edge_s + 100))
    )
    for batch, clock_s in ((first, edge_s), (other, midnight_s), (again, midnight_s)):
        if restart:
            journal = Journal.restore(SPEC, stored, as_of_s=journal.state.as_of_s, digest=journal.digest)
        applied = journal.state.apply(batch, clock_s)
        store(journal.record(applied.changed), stored)
    assert totals([applied]) == Counter(repeated=1)


def test_places_of_another_layout_than_the_spec_asks_for_are_refused():
    for spec, other in ((SPEC, toy_spec(2, 2)), (toy_spec(2, 2), SPEC)):
        with pytest.raises(ValueError, match="layout"):
            restore_state(other, export_state(CountState(spec)))


def test_one_hundred_thousand_calls_of_a_quarter_of_an_hour_take_no_time_to_speak_of():
    """Every pair would be five billion distances."""
    random, count = np.random.default_rng(3), 100_000
    calls = Calls(
        occurred_s=random.integers(0, 900, count),
        order=np.arange(count, dtype=np.uint64),
        category=np.zeros(count, np.int16),
        place=(np.array([NORTH, 0]) + random.integers(-2_000_000, 2_000_000, (count, 2))).astype(np.int32),
    )
    found = np.flatnonzero(repeats(calls))
    chosen = set(random.choice(count, 30, replace=False).tolist())
    places = np.radians(calls.place / 1e7)
    for number in chosen:
        across = np.sin((places[:, 1] - places[number, 1]) / 2) ** 2 * np.cos(places[:, 0]) * np.cos(places[number, 0])
        away = 2 * 6_371_008.8 * np.arcsin(np.sqrt(np.sin((places[:, 0] - places[number, 0]) / 2) ** 2 + across))
        earlier = calls.occurred_s < calls.occurred_s[number]
        earlier |= (calls.occurred_s == calls.occurred_s[number]) & (calls.order < number)
        assert bool((earlier & (away <= 200)).any()) == (number in found)

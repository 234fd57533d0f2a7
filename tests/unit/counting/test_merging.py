"""Repeated calls in the stream, against a recount that looks at every pair of the calls that are known."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.counting.blobs import export_state, restore_state
from models.counting.count_state import CountState
from schemas.incidents import COUNTED_ORIGIN, Incidents
from tests.harness.toy import toy_spec
from tests.unit.counting.test_count_state import (
    GONE,
    assert_equal_to,
    assert_same_rings,
    beginning,
    history_ends,
    recount,
    streams,
    totals,
)  # fmt: skip
from tests.unit.counting.test_journal import by_turns, restarted

SPEC = toy_spec(2, 2, merge="repeated_calls")
KEEP_S = 172_800
NORTH = 41_0000000
M = 90  # steps of latitude to a metre, about

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


def streams_of_calls():
    """Batches of calls within some 600 m, with a clock that stands, creeps, or goes to the edge of the memory."""
    return streams(call, 7, (0, 0, 1, 300, 900, 3600, KEEP_S - 1800, KEEP_S - 900, KEEP_S))


def metres(place, other):
    """Along the great circle, by the angle between two vectors."""

    def vector(place):
        lat, lon = (math.radians(steps / 1e7) for steps in place)
        return np.array([math.cos(lat) * math.cos(lon), math.cos(lat) * math.sin(lon), math.sin(lat)])

    a, b = vector(place), vector(other)
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


@settings(max_examples=40, deadline=None)
@given(streams_of_calls(), history_ends)
def test_counts_and_ledger_equal_a_recount_of_every_pair(batches, history_end_s):
    state = beginning(history_end_s, SPEC)
    applied = [state.apply(batch, as_of) for as_of, batch in batches]
    ledger, counts = recount(batches, history_end_s, repeats_of)
    assert totals(applied) == +ledger
    assert_equal_to(state, counts)


@settings(max_examples=30, deadline=None)
@given(streams_of_calls(), st.lists(st.booleans(), min_size=7, max_size=7), st.integers(1, 3), history_ends)
def test_a_restart_changes_nothing_nor_does_it_matter_what_the_registry_has_dropped(
    batches, restarts, fold_after, history_end_s
):
    undisturbed, _ = restarted(batches, restarts, fold_after, history_end_s, SPEC)
    assert_same_rings(undisturbed, restore_state(SPEC, export_state(undisturbed)))


@settings(max_examples=30, deadline=None)
@given(streams_of_calls(), st.lists(st.booleans(), min_size=7, max_size=7))
def test_a_journal_that_lags_behind_follows_with_the_same_repeats(batches, turns):
    journal, other, _ = by_turns(batches, turns, SPEC)
    assert_same_rings(journal.state, other.state)


@settings(max_examples=30, deadline=None)
@given(streams_of_calls(), history_ends, st.randoms(use_true_random=False))
def test_neither_order_nor_batches_matter_where_each_incident_has_one_message(batches, history_end_s, random):
    clock = batches[-1][0]
    whole = Incidents.concatenate([batch for _, batch in batches])
    _, first = np.unique(whole.key, return_index=True)
    whole = whole.select(np.sort(first))
    once, split = beginning(history_end_s, SPEC), beginning(history_end_s, SPEC)
    for state in (once, split):
        state.advance(clock)
    once.apply(whole, clock)
    order = random.sample(range(len(whole)), len(whole))
    for start in range(0, len(whole), 2):
        split.apply(whole.select(np.array(order[start : start + 2])), clock)
    assert_same_rings(once, split)


@settings(max_examples=30, deadline=None)
@given(streams_of_calls())
def test_without_merging_the_places_change_nothing_and_are_not_kept(batches):
    plain, merging = CountState(toy_spec(2, 2)), CountState(SPEC)
    for as_of, batch in batches:
        assert plain.apply(batch, as_of).outcomes["repeated"] == 0
        merging.apply(batch, as_of)
    assert len(plain.registry) == len(merging.registry)
    blobs = export_state(plain)
    assert len(blobs["r:0000000000"]) == 35 * len(plain.registry)
    assert len(export_state(merging)["r:0000000000"]) == 43 * len(plain.registry)
    assert (blobs["layout"], export_state(merging)["layout"]) == (b"\x02", b"\x03")


def test_places_of_another_layout_than_the_spec_asks_for_are_refused():
    for spec, other in ((SPEC, toy_spec(2, 2)), (toy_spec(2, 2), SPEC)):
        with pytest.raises(ValueError, match="layout"):
            restore_state(other, export_state(CountState(spec)))

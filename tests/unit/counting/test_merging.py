"""Repeated calls, case by case, and anywhere on the globe."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.counting import count_registry
from models.counting.blobs import Journal, export_state, restore_state
from models.counting.count_registry import Calls, repeats
from models.counting.count_state import CountState
from schemas.incidents import COUNTED_ORIGIN, NO_PLACE, Incidents, fixed_places
from schemas.spec import DAY_S
from tests.harness.toy import toy_spec
from tests.unit.counting.test_count_state import (
    GONE,
    KEEP_S,
    MERGING,
    NORTH,
    NOW,
    M,
    assert_same_rings,
    beginning,
    history_ends,
    incidents,
    store,
    streams_of_calls,
    totals,
)


@settings(max_examples=30, deadline=None)
@given(streams_of_calls(), history_ends, st.randoms(use_true_random=False))
def test_neither_order_nor_batches_matter_where_each_incident_has_one_message(batches, history_end_s, random):
    clock = batches[-1][0]
    whole = Incidents.concatenate([batch for _, batch in batches])
    _, first = np.unique(whole.key, return_index=True)
    whole = whole.select(np.sort(first))
    once, split = beginning(history_end_s, MERGING), beginning(history_end_s, MERGING)
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
    plain, merging = CountState(toy_spec(2, 2)), CountState(MERGING)
    for as_of, batch in batches:
        assert plain.apply(batch, as_of).outcomes["repeated"] == 0
        merging.apply(batch, as_of)
    assert len(plain.registry) == len(merging.registry)
    for state, other, size, layout in ((plain, merging, 35, b"\x02"), (merging, plain, 43, b"\x03")):
        blobs = export_state(state)
        assert (len(blobs["r:0000000000"]), blobs["layout"]) == (size * len(plain.registry), layout)
        with pytest.raises(ValueError, match="layout"):  # of another spec
            restore_state(other.spec, blobs)


def counted(*batches, spec=MERGING, history_end_s=0):
    """How many incidents count after the batches, each of calls; and the outcomes of the last one."""
    state = beginning(history_end_s, spec)
    for calls in batches:
        applied = state.apply(incidents([{**CALL, **call} for call in calls], NOW), NOW)
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


def test_a_call_that_the_history_owns_is_repeated_by_nothing_and_one_from_before_the_memory_stays_a_repeat():
    """Its count is in the history or nowhere: else a call soon after it would be lost."""
    assert counted([{"ago_s": 100}], [{"key": 6}], history_end_s=NOW - 50) == (1, {"counted": 1})
    state, clock_s = CountState(MERGING), NOW + KEEP_S
    moved, repeat = {**CALL, "revision": 1, "ago_s": 500}, {**CALL, "key": 6, "ago_s": 400}
    state.apply(incidents([CALL, moved, repeat], NOW), NOW)
    assert state.levels["hour"].sum_of_newest(360).sum() == 1
    state.apply(incidents([{**CALL, "revision": 2, "flags": GONE}], clock_s), clock_s)  # the first call is cancelled
    assert state.levels["hour"].sum_of_newest(360).sum() == 0


@pytest.mark.parametrize("restart", [False, True])
def test_a_call_at_the_edge_of_the_memory_still_finds_the_one_that_it_repeats(restart, monkeypatch):
    """Most is dropped at midnight: what nobody may correct any more may still be repeated."""
    monkeypatch.setattr("models.counting.blobs._FOLD_SEGMENTS", 1)
    journal, changes = Journal.start(CountState(MERGING))
    stored, midnight_s = dict(changes.puts), (NOW // DAY_S + 3) * DAY_S
    edge_s = midnight_s - KEEP_S
    first, other, again = (
        incidents([{**CALL, "key": key, "category": kind, "ago_s": 0}], at_s)
        for key, kind, at_s in ((1, 0, edge_s - 900), (2, 1, midnight_s), (3, 0, edge_s))
    )
    for batch, clock_s in ((first, edge_s), (other, midnight_s), (again, midnight_s)):
        if restart:
            journal = Journal.restore(MERGING, stored, as_of_s=journal.state.as_of_s, digest=journal.digest)
        applied = journal.state.apply(batch, clock_s)
        store(journal.record(applied.changed), stored)
    assert totals([applied]) == Counter(repeated=1)


def test_one_hundred_thousand_calls_of_a_quarter_of_an_hour_take_no_time_to_speak_of(monkeypatch):
    """Every pair would be five billion distances; at most two are looked at for each call."""
    distances, metres = [], count_registry._metres
    monkeypatch.setattr(count_registry, "_metres", lambda *of: distances.append(len(of[0])) or metres(*of))
    random, count = np.random.default_rng(3), 100_000
    calls = Calls(
        occurred_s=random.integers(0, 900, count),
        order=np.arange(count, dtype=np.uint64),
        category=np.zeros(count, np.int16),
        place=(np.array([NORTH, 0]) + random.integers(-2_000_000, 2_000_000, (count, 2))).astype(np.int32),
    )
    repeated = np.flatnonzero(repeats(calls))
    assert sum(distances) < 2 * count
    chosen = set(random.choice(count, 30, replace=False).tolist())
    places = np.radians(calls.place / 1e7)
    for number in chosen:
        across = np.sin((places[:, 1] - places[number, 1]) / 2) ** 2 * np.cos(places[:, 0]) * np.cos(places[number, 0])
        away = 2 * 6_371_008.8 * np.arcsin(np.sqrt(np.sin((places[:, 0] - places[number, 0]) / 2) ** 2 + across))
        earlier = calls.occurred_s < calls.occurred_s[number]
        earlier |= (calls.occurred_s == calls.occurred_s[number]) & (calls.order < number)
        assert bool((earlier & (away <= 200)).any()) == (number in repeated)


PAIRS = 400


def calls_in_pairs(lat_deg, away_m, around):
    """Calls up to `around` radians from Greenwich, each followed by one that far away; no two pairs are near."""
    draw = np.random.default_rng(0)
    lat, lon = np.full(PAIRS, np.radians(lat_deg)), draw.uniform(-around, around, PAIRS)
    bearing, angle = np.where(np.arange(PAIRS) % 2, np.pi / 2, draw.uniform(0, 2 * np.pi, PAIRS)), away_m / 6_371_008.8
    lon[:4] = around
    to_lat = np.arcsin(np.sin(lat) * np.cos(angle) + np.cos(lat) * np.sin(angle) * np.cos(bearing))
    east = np.sin(bearing) * np.sin(angle) * np.cos(lat)
    to_lon = (lon + np.arctan2(east, np.cos(angle) - np.sin(lat) * np.sin(to_lat)) + np.pi) % (2 * np.pi) - np.pi
    return Calls(
        occurred_s=np.concatenate([np.arange(PAIRS) * 10_000, np.arange(PAIRS) * 10_000 + 1]),
        order=np.arange(2 * PAIRS, dtype=np.uint64),
        category=np.tile(np.arange(PAIRS) % 3, 2).astype(np.int16),
        place=fixed_places(np.degrees([*lat, *to_lat]), np.degrees([*lon, *to_lon])),
    )


@pytest.mark.parametrize("lat_deg", [0, 41, -60, 75, 89.99, -89.9965, 89.9999])
@pytest.mark.parametrize("around", [0.1, np.pi])
def test_a_call_repeats_one_up_to_200_metres_away_in_any_direction(lat_deg, around):
    for away_m, is_repeat in ((199.9, True), (200.1, False)):
        repeated = repeats(calls_in_pairs(lat_deg, away_m, around))
        assert repeated.dtype == np.bool_
        assert repeated.tolist() == [False] * PAIRS + [is_repeat] * PAIRS

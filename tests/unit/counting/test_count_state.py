"""CountState against a recount of the final revisions, with and without merging; its parts against plain counts."""

import math
from collections import Counter, defaultdict
from dataclasses import fields

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.counting.blobs import Journal
from models.counting.count_registry import Records, Registry
from models.counting.count_state import CHUNK_BINS, MOST_HOURS, CountState, LevelBins, horizons_closed_between
from schemas.forecasts import GRACE_S
from schemas.incidents import CANCELLED, COUNTED_ORIGIN, Incidents
from schemas.spec import DAY_S, Level
from tests.harness.toy import toy_spec

NOW = 1_700_000_000
HOUR = 3600
SPEC, MERGING = toy_spec(2, 2), toy_spec(2, 2, merge="repeated_calls")
KEEP_S = 172_800
GONE = COUNTED_ORIGIN | CANCELLED
NORTH = 41_0000000
M = 90  # steps of latitude to a metre, about

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
def streams(draw, event=event, most=6, steps_s=(0, 1, 299, 300, 3600, 3600, 22 * 3600, 27 * 3600, KEEP_S, 60 * DAY_S)):
    """Batches of events and of messages that are sent again; the clock goes forward, also beyond what is remembered."""
    clock, batches, sent = NOW, [], []
    for events in draw(st.lists(st.lists(event, max_size=8), min_size=1, max_size=most)):
        clock += draw(st.sampled_from(steps_s))
        batch, again = incidents(events, clock), draw(st.lists(st.sampled_from(sent), max_size=3)) if sent else []
        batches.append((clock, Incidents.concatenate([batch, *again])))
        sent += [batch.select(np.array([number])) for number in range(len(batch))]
    return batches


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


# A spec, batches of what it is told, and the rule of its repeats.
told_specs = streams().map(lambda batches: (SPEC, batches, lambda live: ()))
told_specs |= streams_of_calls().map(lambda batches: (MERGING, batches, repeats_of))


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
@settings(max_examples=120, deadline=None)
@given(told_specs, history_ends)
def test_counts_and_ledger_equal_a_recount_of_the_final_revisions_and_of_every_pair(told, history_end_s):
    spec, batches, repeats_of = told
    state = beginning(history_end_s, spec)
    applied = [state.apply(batch, as_of) for as_of, batch in batches]
    ledger, counts = recount(batches, history_end_s, repeats_of)
    assert totals(applied) == +ledger
    assert_equal_to(state, counts)


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
    for sent, said in (([older, {**CALL, **message}], newest), ([{**CALL, **message}], newest if not message else 0)):
        applied = beginning(NOW - 26 * HOUR).apply(incidents(sent, NOW), NOW)
        assert applied.newest_counted_s == said


WIDTH_S, KEEP, AHEAD = 300, 40, 2
TWO_CELLS, LEVEL = toy_spec(1, 2), Level(name="pane", width_s=WIDTH_S, keep=KEEP)
PLACES = 4
waits_s = st.integers(0, 5000) | st.sampled_from([0, 299, *(WIDTH_S * bins for bins in (1, KEEP, KEEP + AHEAD, 50))])
bins_after = st.integers(-KEEP - 1, 4) | st.sampled_from([-KEEP, 1 - KEEP, 0, AHEAD, AHEAD + 1])


def level_at(now_s):
    level = LevelBins.empty(LEVEL, TWO_CELLS)
    level.advance(now_s)
    return level


def all_bins(level):
    return level.newest_bins(KEEP + AHEAD, skip=-AHEAD)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(waits_s, bins_after, st.integers(0, PLACES - 1)), min_size=1, max_size=12))
def test_bins_sums_and_stored_chunks_equal_a_count(steps):
    now_s, counts, touched = 1_700_000_000, Counter(), set()
    level = level_at(now_s)
    for wait_s, after, place in steps:
        version, before = level.past_version, now_s // WIDTH_S
        now_s += wait_s
        newest = now_s // WIDTH_S
        level.advance(now_s)
        assert (level.past_version > version) == (newest > before)
        version, is_kept = level.past_version, -KEEP < after <= AHEAD
        level.add(np.array([(newest + after) * WIDTH_S + 7]), np.array([place]), 1)
        assert (level.past_version > version) == (is_kept and after < 0)
        if is_kept:
            counts[newest + after, place] += 1
            touched.add((newest + after) // CHUNK_BINS)
        assert level.dirty == touched
        numbers = np.arange(newest - KEEP + 1, newest + AHEAD + 1)
        expected = np.array([[counts[number, place] for place in range(PLACES)] for number in numbers.tolist()])
        np.testing.assert_array_equal(all_bins(level), expected)
        for bins, skip in ((0, 0), (0, 3), (1, 0), (7, 3), (20, 20), (KEEP, 0)):
            total = level.sum_of_newest(bins, skip=skip)
            np.testing.assert_array_equal(total, expected[KEEP - skip - bins : KEEP - skip].sum(axis=0))
            assert total.dtype == level.newest_bins(bins, skip=skip).dtype == np.int32
        for chunk in np.unique(numbers // CHUNK_BINS):
            restored = level_at(now_s)
            restored.unpack_chunk(level.pack_chunk(int(chunk)))
            of_chunk = numbers // CHUNK_BINS == chunk
            np.testing.assert_array_equal(all_bins(restored), np.where(of_chunk[:, None], expected, 0))


def records_of(keys, draw, columns):
    numbers = {"occurred_s": "i8", "revision": "i4", "cell": "i4", "category": "i2", "flags": "u1", "latest_s": "i8"}
    drawn = {name: draw.integers(0, 99, len(keys)).astype(dtype) for name, dtype in numbers.items()}
    return Records(key=keys, **drawn, place=draw.integers(-99, 99, (len(keys), columns)).astype(np.int32))


def by_key(records):
    rows = zip(*(getattr(records, field.name).tolist() for field in fields(Records)), strict=True)
    return {row[0]: row for row in rows}


@pytest.mark.parametrize("columns", [0, 2])
def test_it_gives_back_what_it_was_told_last(columns):
    """Half of the keys have equal low bits: the longest probe chains."""
    draw, registry, told = np.random.default_rng(0), Registry(has_places=bool(columns)), {}
    numbers = np.arange(3000, dtype=np.uint64)
    every = np.where(numbers % 2, numbers << np.uint64(40), numbers)
    for _ in range(14):
        batch = records_of(draw.choice(every, 250, replace=False), draw, columns)
        registry.put(batch)
        told |= by_key(batch)
    for _ in range(2):
        assert len(registry) == len(told)
        assert by_key(registry.records()) == told
        entries = registry.find(every)
        assert entries.dtype == np.int32
        assert set(every[entries >= 0].tolist()) == set(told)
        assert by_key(registry.entries(entries[entries >= 0])) == told
        near = registry.entries(registry.near(np.array([20, 70]), 9))
        assert set(near.key.tolist()) == {key for key, row in told.items() if 11 <= row[1] <= 29 or 61 <= row[1] <= 79}
        registry.expire(50)
        told = {key: row for key, row in told.items() if row[6] >= 50}
    again = Records.unpack(batch.pack(), has_places=bool(columns))
    for f in fields(Records):
        np.testing.assert_array_equal(getattr(again, f.name), getattr(batch, f.name))
        assert getattr(again, f.name).dtype == getattr(batch, f.name).dtype


def test_what_is_too_old_is_forgotten_once_it_is_a_quarter_of_all():
    registry, ages = Registry(), np.arange(8)
    batch = records_of(ages.astype(np.uint64), np.random.default_rng(0), 0)
    batch.latest_s[:] = ages
    registry.put(batch)
    for before_s, left in ((1, 8), (2, 6), (3, 6)):
        registry.expire(before_s)
        assert len(registry) == left


START = 1_700_002_800
ROW = toy_spec(1, 3)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30 * HOUR), st.integers(0, 5)), max_size=60),
    st.lists(st.integers(1, 9 * HOUR), min_size=1, max_size=12),
)
def test_every_horizon_is_closed_twice_and_counts_what_came(incidents, steps):
    state = CountState(ROW)
    state.advance(START + 30 * HOUR)
    before_s, closed_so_far = state.as_of_s, {}
    for at, place in incidents:
        for level in state.levels.values():
            level.add(np.array([START + at]), np.array([place]), 1)
    for step in steps:
        state.advance(before_s + step)
        for closed in horizons_closed_between(state, before_s):
            assert before_s < closed.judged_s <= state.as_of_s
            assert (closed.tick_s, closed.horizon, closed.judged_s) not in closed_so_far
            closed_so_far[closed.tick_s, closed.horizon, closed.judged_s] = closed.observed
        before_s = state.as_of_s
    expected = {
        (end - horizon, number, end + grace_s)
        for grace_s in (GRACE_S, ROW.late_limit_s + GRACE_S)
        for number, horizon in enumerate(ROW.horizons_s)
        for end in range(START, before_s + 1, HOUR)
        if START + 30 * HOUR < end + grace_s <= before_s
    }
    assert set(closed_so_far) == expected
    for (tick_s, number, _), came in closed_so_far.items():
        counted = np.zeros(6, int)
        for at, place in incidents:
            counted[place] += tick_s <= START + at < tick_s + ROW.horizons_s[number]
        np.testing.assert_array_equal(came.ravel(), counted)


def test_a_long_outage_is_caught_up_with_for_two_days_only_and_hours_that_are_not_kept_are_not_judged():
    state = CountState(ROW)
    state.advance(START)
    state.advance(START + 100 * HOUR)
    closed = list(horizons_closed_between(state, START))
    assert len(closed) == 2 * MOST_HOURS * len(ROW.horizons_s)
    last = {due.judged_s - due.tick_s: due.tick_s for due in closed if due.horizon == 0}
    assert last == {2 * HOUR: START + 98 * HOUR, 26 * HOUR: START + 74 * HOUR}
    week = 7 * 24 * HOUR
    spec = msgspec.structs.replace(ROW, horizons_s=(HOUR, week), late_limit_s=week)
    state = CountState(spec)
    state.advance(START)
    state.advance(START + 30 * 24 * HOUR)
    closed = list(horizons_closed_between(state, START))
    kept_s = next(level.keep for level in spec.levels if level.name == "hour") * HOUR
    assert min(due.tick_s for due in closed) == state.as_of_s - kept_s + HOUR
    assert len({due.tick_s for due in closed if due.judged_s - due.tick_s == HOUR + week + GRACE_S}) == MOST_HOURS

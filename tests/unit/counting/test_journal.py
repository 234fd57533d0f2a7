"""Counts that are stored and read again, by the same process, another one or a later version."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.counting.blobs import Journal, export_state, restore_state
from models.counting.count_state import CHUNK_BINS, CountState
from schemas.spec import DAY_S
from tests.unit.counting.test_count_state import (
    CALL,
    HOUR,
    NOW,
    SPEC,
    assert_same_rings,
    beginning,
    by_key,
    history_ends,
    incidents,
    store,
    told_specs,
)


def follow(journal, stored):
    while journal.next_key in stored:
        assert journal.follow(stored[journal.next_key])


@pytest.mark.fault("F14")
@settings(max_examples=55, deadline=None)
@given(told_specs, st.lists(st.booleans(), min_size=7, max_size=7), st.integers(1, 3), history_ends)
def test_a_restart_from_the_stored_blobs_equals_no_restart_where_no_record_is_dropped(
    told, restarts, fold_after, history_end_s
):
    """Both are compared after every batch."""
    spec, batches, _ = told
    stored: dict[str, bytes] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("models.counting.blobs._FOLD_SEGMENTS", fold_after)
        journal, changes = Journal.start(beginning(history_end_s, spec))
        store(changes, stored)
        undisturbed = beginning(history_end_s, spec)
        for (as_of, batch), restart in zip(batches, restarts, strict=False):
            store(journal.record(journal.state.apply(batch, as_of).changed), stored)
            undisturbed.apply(batch, as_of)
            if restart:
                journal = Journal.restore(spec, stored, as_of_s=as_of, digest=journal.digest)
            assert_same_rings(undisturbed, journal.state)
        restored = Journal.restore(spec, stored, as_of_s=as_of, digest=journal.digest).state
    assert_same_rings(undisturbed, restored)
    assert (restored.history_end_s, restored.first_day) == (history_end_s, history_end_s // DAY_S + 7)
    again = restore_state(spec, export_state(undisturbed))
    assert_same_rings(undisturbed, again)
    assert set(again.registry.records().key.tolist()) == set(undisturbed.registry.records().key.tolist())


@pytest.mark.parametrize(("passed_s", "outcome"), [(0, "duplicate"), (1, "duplicate"), (DAY_S, "counted")])
def test_an_incident_is_known_after_a_restart_up_to_the_last_second_that_it_is_remembered(
    passed_s, outcome, monkeypatch
):
    """Stored without it, the same incident would count twice when it is sent again after a restart.

    At the next midnight but one it is dropped at last.
    """
    monkeypatch.setattr("models.counting.blobs._FOLD_SEGMENTS", 1)
    journal, changes = Journal.start(CountState(SPEC))
    stored = dict(changes.puts)
    edge_s = NOW + SPEC.registry_keep_s
    for key, as_of_s in ((1, NOW), (2, edge_s + passed_s)):
        happened = incidents([{**CALL, "key": key, "ago_s": 0}], as_of_s)
        store(journal.record(journal.state.apply(happened, as_of_s).changed), stored)
    again = Journal.restore(SPEC, stored, as_of_s=edge_s, digest=journal.digest).state
    first = incidents([{**CALL, "key": 1, "ago_s": SPEC.registry_keep_s}], edge_s)
    assert again.apply(first, edge_s).outcomes[outcome] == 1


@settings(max_examples=55, deadline=None)
@given(told_specs, st.lists(st.booleans(), min_size=7, max_size=7))
def test_a_journal_that_lags_behind_follows_what_the_other_one_stored(told, turns):
    """turns: before which batch the other one goes on."""
    spec, batches, _ = told
    stored: dict[str, bytes] = {}
    journal, changes = Journal.start(CountState(spec))
    stored.update(changes.puts)
    other = Journal.restore(spec, stored, as_of_s=0, digest=journal.digest)
    for (as_of, batch), turn in zip(batches, turns, strict=False):
        if turn:
            journal, other = other, journal
        follow(journal, stored)
        stored.update(journal.record(journal.state.apply(batch, as_of).changed).puts)
    follow(other, stored)
    other.state.advance(journal.state.as_of_s)
    assert other.digest == journal.digest
    assert_same_rings(journal.state, other.state)
    foreign, _ = Journal.start(CountState(spec))
    foreign.digest ^= 2
    assert not any(foreign.follow(blob) for key, blob in stored.items() if key.startswith("s:"))


def recorded(journal, stored, messages, at_s):
    told = incidents([{**CALL, **message} for message in messages], at_s)
    store(journal.record(journal.state.apply(told, at_s).changed), stored)


def test_what_is_stored_is_the_state_after_every_segment_and_when_they_are_folded(monkeypatch):
    """They are folded when they have that many rows. Of an incident the last revision stays."""
    monkeypatch.setattr("models.counting.blobs._FOLD_ROWS", 4)
    journal, changes = Journal.start(CountState(SPEC))
    stored, digests = dict(changes.puts), {journal.digest}
    for messages in ([{}, {"key": 6}], [{"revision": 1, "ago_s": 2 * HOUR}], [{"revision": 2, "ago_s": 3 * HOUR}]):
        assert "r:0000000003" not in stored
        recorded(journal, stored, messages, NOW)
        state = restore_state(SPEC, stored, as_of_s=NOW)
        assert state.as_of_s == NOW
        assert_same_rings(state, journal.state)
        assert by_key(state.registry.records()) == by_key(journal.state.registry.records())
        again = Journal.restore(SPEC, stored, as_of_s=NOW, digest=journal.digest)
        assert again.next_key == journal.next_key == f"s:{len(digests) + 1:010d}"
        digests.add(journal.digest)
    assert [key for key in stored if key[0] in "rs"] == ["r:0000000003"]
    assert len(digests) == 4


def test_a_digest_tells_contents_apart_and_numbers_that_are_none_are_refused():
    journals = [Journal.start(CountState(SPEC))[0] for _ in range(2)]
    for journal, key in zip(journals, (1, 2), strict=True):
        recorded(journal, {}, [{"key": key}], NOW)
    assert len({journal.digest for journal in journals}) == 2
    assert len({Journal.start(journal.state)[0].digest for journal in journals}) == 2
    blobs = export_state(CountState(SPEC)) | {"clock": msgspec.msgpack.encode("noon")}
    with pytest.raises(msgspec.ValidationError):
        restore_state(SPEC, blobs)


def test_an_incident_ahead_of_the_clock_is_stored():
    """Its hour is of the next chunk."""
    at_s, state = (NOW // HOUR // CHUNK_BINS + 1) * CHUNK_BINS * HOUR - 100, CountState(SPEC)
    state.apply(incidents([{**CALL, "ago_s": -200}], at_s), at_s)
    assert_same_rings(restore_state(SPEC, export_state(state)), state)


HOURS_GONE_S = ((NOW // HOUR // CHUNK_BINS + 1) * CHUNK_BINS + 15 * 24 - 1) * HOUR  # the chunk's last one is too old
MIDNIGHT = NOW // DAY_S * DAY_S


@pytest.mark.parametrize(
    ("first_s", "second_s", "key", "is_stored"),
    [
        (NOW, HOURS_GONE_S - 1, f"b:hour:{NOW // HOUR // CHUNK_BINS}", True),
        (NOW, HOURS_GONE_S, f"b:hour:{NOW // HOUR // CHUNK_BINS}", False),
        (MIDNIGHT, MIDNIGHT + SPEC.registry_keep_s, "r:0000000001", True),
        (MIDNIGHT, MIDNIGHT + SPEC.registry_keep_s + DAY_S, "r:0000000001", False),
    ],
)
def test_what_is_no_longer_asked_for_is_deleted_and_nothing_sooner(first_s, second_s, key, is_stored, monkeypatch):
    monkeypatch.setattr("models.counting.blobs._FOLD_SEGMENTS", 1)
    journal, changes = Journal.start(CountState(SPEC))
    stored = dict(changes.puts)
    recorded(journal, stored, [{"key": 1}], first_s)
    journal = Journal.restore(SPEC, stored, as_of_s=first_s, digest=journal.digest)
    recorded(journal, stored, [{"key": 2}], second_s)
    assert (key in stored) == is_stored


def test_what_is_stored_does_not_grow_with_the_number_of_batches():
    journal, changes = Journal.start(CountState(SPEC))
    stored, sizes = dict(changes.puts), []
    for number in range(900):
        recorded(journal, stored, [{"key": number, "cell": number % 4}], NOW + number * 1800)
        if number % 100 == 99:
            sizes.append((len(stored), sum(map(len, stored.values()))))
    assert max(count for count, _ in sizes) < 150
    assert sizes[-1][1] < 1.5 * sizes[4][1]

"""The log of batches: what a line says, repeats, torn lines, days."""

from contextlib import closing
from datetime import UTC, datetime

import numpy as np
import pytest

from models.counting.blobs import export_state, pack_counts, read_counts
from models.counting.count_state import CountState
from schemas.batches import KEEP_DAYS, logged_batches, logged_days
from schemas.errors import CheckpointError
from schemas.files import replace_file
from streaming.flow.rows import Summary
from streaming.watchers import BatchLog
from tests.harness.checkpoint import spark_files
from tests.harness.toy import toy_frame, toy_published, toy_spec

DAY_S = 86_400
NOON = int(datetime(2026, 11, 25, 12, tzinfo=UTC).timestamp())
DAY = "2026-11-25"
SPEC = toy_spec(categories=("ems",))


def published(number, *, as_of_s, consumed=1, scored=True, region="toyville"):
    ledger = {"consumed": consumed, "counted": consumed, "rejected": 0}
    summaries = {region: Summary(as_of_s=as_of_s, ledger=ledger, totals=ledger)}
    frames = {region: toy_frame(SPEC, as_of_s=as_of_s)} if scored else {}
    return toy_published(number, frames=frames, summaries=summaries, artifacts={region: "v1"})


def keep(checkpoint, number, *, at_s=NOON, **fields):
    spark_files(checkpoint, number, read={"0": 10 * (number + 1)}, at_s=at_s)
    with closing(BatchLog(checkpoint, top_k=10)) as log:  # a process of its own
        log.keep(published(number, as_of_s=fields.pop("as_of_s", at_s), **fields))


def lines(checkpoint, day=DAY):
    return list(logged_batches(checkpoint, day))


def test_a_line_says_which_messages_came_when_and_what_they_led_to(tmp_path):
    with closing(BatchLog(tmp_path, top_k=10)) as log:
        spark_files(tmp_path, 0, read={}, at_s=NOON, begin={"0": 5, "1": 7})
        log.keep(published(0, as_of_s=NOON - 3, consumed=0))
        spark_files(tmp_path, 1, read={"0": 9, "1": 7}, at_s=NOON + 1)
        log.keep(published(1, as_of_s=NOON - 2, consumed=4, scored=False))
        spark_files(tmp_path, 2, read={"0": 9, "1": 7}, at_s=NOON + 2)
        log.keep(published(2, as_of_s=NOON - 2, consumed=0, scored=False))  # it did nothing
        spark_files(tmp_path, 3, read={"0": 9, "1": 8, "2": 2}, at_s=NOON + 3)  # a partition was added
        log.keep(published(3, as_of_s=NOON, consumed=3))
    first, second, third = lines(tmp_path)
    assert (first.number, first.at_ms, first.offsets) == (0, NOON * 1000, {})
    assert (second.number, second.offsets) == (1, {0: (5, 9)})
    assert third.offsets == {1: (7, 8), 2: (0, 2)}
    assert [bool(batch.regions["toyville"].scores) for batch in (first, second, third)] == [True, False, True]
    assert {batch.top_k for batch in (first, second, third)} == {10}
    assert second.regions["toyville"].as_of_s == NOON - 2
    assert second.regions["toyville"].totals == {"consumed": 4, "counted": 4}
    assert third.regions["toyville"].artifact == "v1"


def test_a_minute_without_a_message_of_no_region_has_a_line(tmp_path):
    keep(tmp_path, 0, consumed=0, scored=False, region="")
    ((_, taken),) = lines(tmp_path)[0].regions.items()
    assert (taken.as_of_s, taken.totals) == (NOON, {})


@pytest.mark.fault("F41")
def test_of_a_batch_that_was_repeated_the_last_line_counts(tmp_path):
    for number, as_of_s in ((0, NOON), (1, NOON + 1), (1, NOON + 2), (2, NOON + 3)):
        keep(tmp_path, number, as_of_s=as_of_s)
    found = [(batch.number, batch.regions["toyville"].as_of_s - NOON) for batch in lines(tmp_path)]
    assert found == [(0, 0), (1, 2), (2, 3)]


@pytest.mark.fault("F41")
@pytest.mark.parametrize("left", [1, 20, 60])
def test_a_line_that_a_crash_tore_is_not_read_and_is_replaced_by_its_repeat(tmp_path, left):
    keep(tmp_path, 0)
    keep(tmp_path, 1)
    path = tmp_path / "batches" / DAY / "batches.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"\n") + 1 + left])
    assert [batch.number for batch in lines(tmp_path)] == [0]
    keep(tmp_path, 1)
    assert path.read_bytes() == whole
    for damage in (b'"number":no', b'"day":"\xff","number":0'):
        path.write_bytes(whole.replace(b'"number":0', damage))
        with pytest.raises(CheckpointError, match=r"batches\.jsonl, line 1"):
            lines(tmp_path)


def test_each_day_has_a_folder_a_clock_set_back_opens_none_and_old_ones_go(tmp_path):
    for number, days in enumerate((0, 1, 0, *range(2, KEEP_DAYS + 1))):
        keep(tmp_path, number, at_s=NOON + days * DAY_S)
        if number == 2:
            assert logged_days(tmp_path) == [DAY, "2026-11-26"]
            assert [batch.number for batch in lines(tmp_path, "2026-11-26")] == [1, 2]
    assert len(logged_days(tmp_path)) == KEEP_DAYS
    assert (logged_days(tmp_path)[0], logged_days(tmp_path)[-1]) == ("2026-11-26", "2026-12-09")
    for number, days in enumerate((0, 1, 500, 2)):  # a clock that was once far ahead ends no day
        keep(tmp_path / "ahead", number, at_s=NOON + days * DAY_S)
    assert logged_days(tmp_path / "ahead")[:2] == [DAY, "2026-11-26"]


@pytest.mark.fault("F41")
def test_counts_that_begin_a_day_are_kept_with_its_first_batch_even_without_news(tmp_path):
    state = CountState(SPEC)
    state.advance(NOON)
    packed = pack_counts(state, totals={}, newest_event_s=0)
    quiet = Summary(as_of_s=NOON, ledger={"consumed": 0}, totals={}, day=DAY, day_counts=packed)
    with closing(BatchLog(tmp_path, top_k=10)) as log:
        log.keep(toy_published(0, summaries={"toyville": quiet}))
    assert lines(tmp_path) == []
    again, _, _ = read_counts(tmp_path / "batches" / DAY / "toyville.counts", SPEC)
    assert export_state(again) == export_state(state)
    (tmp_path / "batches" / DAY).rename(tmp_path / "aside")
    (tmp_path / "batches" / DAY).write_text("no folder")
    with (
        closing(BatchLog(tmp_path, top_k=10)) as log,
        pytest.raises(CheckpointError, match=r"toyville.counts.*free disk"),
    ):
        log.keep(toy_published(0, summaries={"toyville": quiet}))


@pytest.mark.fault("F41")
def test_counts_are_kept_whole_and_a_damaged_file_is_refused(tmp_path):
    state, path = CountState(SPEC), tmp_path / DAY / "toyville.counts"
    state.advance(NOON)
    state.history_end_s, state.first_day = NOON - 5 * DAY_S, 20_000
    state.levels["day"].add(np.full(4, NOON - DAY_S), np.arange(4), 1)
    replace_file(path, pack_counts(state, totals={"consumed": 3}, newest_event_s=NOON - 5))
    again, totals, newest_event_s = read_counts(path, SPEC)
    assert (again.history_end_s, again.first_day) == (NOON - 5 * DAY_S, 20_000)
    assert (export_state(again), totals, newest_event_s) == (export_state(state), {"consumed": 3}, NOON - 5)
    other = toy_spec(categories=("fire",))
    with pytest.raises(CheckpointError, match="has counts for spec"):
        read_counts(path, other)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_counts(path, SPEC)

"""The figures of a run with a kill, whose truth is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.job import TimedBatch
from benchmarks.outage import backlog_at, caught_up_at, newest_of_each, outage_of, percentiles_ms, phase, timed
from benchmarks.traffic import count_sent, sent_so_far

RATE = 100


def batch(number, *, ends, at_s, consumed, took_s=0.1):
    ledger = {"consumed": consumed, "counted": consumed}
    return TimedBatch(
        batch_id=number, started_s=at_s - took_s, acknowledged_s=at_s, points=1, ledger=ledger, end_offsets={0: ends}
    )


def run_of(seconds, batches_at):
    """RATE events a second in one partition, each a millisecond late, and batches that take all sent by then."""
    intended = np.arange(seconds * RATE) / RATE
    sent = np.stack([np.zeros(len(intended)), np.arange(len(intended)), intended, intended + 0.001], axis=1)
    batches, before = [], 0
    for number, at_s in enumerate(batches_at):
        ends = int(np.searchsorted(intended, at_s - 0.1, side="right"))
        batches.append(batch(number, ends=ends, at_s=at_s, consumed=ends - before))
        before = ends
    return sent, batches


BEFORE_S, AFTER_S = [*np.arange(0.5, 30.1, 0.5)], [64.0, *np.arange(64.5, 71, 0.5)]  # killed at 30, started at 60


def test_an_outage_is_told_as_it_was():
    sent, batches = run_of(70, [*BEFORE_S, *AFTER_S])
    outage = outage_of(*timed(sent, batches), batches[len(BEFORE_S) :], killed_s=30.0, start_s=60.0)
    assert outage["away_s"] == 30.0
    assert outage["backlog"] == pytest.approx(30.1 * RATE, abs=2)
    assert outage["caught_up_s"] == 4.0
    assert outage["events_per_s"] == pytest.approx(34 * RATE / 0.1, rel=0.01)
    assert outage["longest_wait_s"] == pytest.approx(34.0, abs=0.2)


def test_a_job_that_leaves_events_waiting_has_not_caught_up():
    intended_s, acknowledged_s = np.arange(3.0), np.full(3, 10.0)
    early, late = (batch(0, ends=3, at_s=at_s, consumed=3) for at_s in (5.0, 10.0))
    assert caught_up_at(intended_s, acknowledged_s, [early], limit_s=0.5) is None
    assert caught_up_at(intended_s, acknowledged_s, [early, late], limit_s=0.5) == 10.0


def test_a_batch_that_was_repeated_counts_once_and_with_its_later_acknowledgement():
    sent, batches = run_of(2, [1.0, 2.0])
    repeated = batch(1, ends=190, at_s=9.0, consumed=90)
    assert newest_of_each([*batches, repeated]) == [batches[0], repeated]
    intended_s, latency_s = timed(sent, [*batches, repeated])
    assert latency_s[-1] == pytest.approx(9.0 - intended_s[-1])


@given(
    st.lists(st.floats(0, 100), min_size=1, max_size=30),
    st.lists(st.floats(0, 50), min_size=1, max_size=30),
    st.floats(0, 150),
)
def test_a_backlog_is_what_was_sent_and_not_stored(intended, waits, at_s):
    length = min(len(intended), len(waits))
    intended, waits = np.array(intended[:length]), np.array(waits[:length])
    waiting = sum(begin <= at_s < begin + wait for begin, wait in zip(intended, waits, strict=True))
    assert backlog_at(intended, intended + waits, at_s) == waiting


def test_percentiles_are_those_of_numpy_and_a_phase_without_events_is_an_error():
    latency_s = np.random.default_rng(0).gamma(2, 0.2, 1000)
    percentiles = percentiles_ms(latency_s)
    assert percentiles["p99"] == pytest.approx(1000 * np.percentile(latency_s, 99), abs=0.06)
    assert percentiles["max"] == pytest.approx(1000 * latency_s.max(), abs=0.06)
    with pytest.raises(ValueError, match="no event"):
        phase(np.arange(3.0), np.ones(3), 10.0, 12.0)


def test_a_row_that_is_being_written_is_not_read(tmp_path):
    path = tmp_path / "sent.f64"
    assert count_sent(path) == len(sent_so_far(path)) == 0
    path.write_bytes(np.arange(8.0).tobytes() + b"half")
    assert count_sent(path) == len(sent_so_far(path)) == 2

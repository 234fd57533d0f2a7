"""The figures of a surge, from runs whose truth is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.job import TimedBatch
from benchmarks.sent_log import count_sent, paced, sent_so_far
from benchmarks.surge_figures import backlog_at, caught_up_at, figures_of, normal_from, percentiles_ms, phase, timed
from benchmarks.surge_report import phase_table, sender_said, surge_page

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


#  0        10        20        30              60      70
#  | normal  | surge   | after   | stopped       | again |
#  batches every 0.5 s       until 30          at 64, then every 0.5 s
SPANS = {"normal": (0.0, 10.0), "surge": (10.0, 20.0), "until normal again": (20.0, 22.0), "normal again": (22.0, 30.0)}
BEFORE_S = [*np.arange(0.5, 30.1, 0.5)]
AFTER_S = [64.0, *np.arange(64.5, 71, 0.5)]


def figures():
    sent, batches = run_of(70, [*BEFORE_S, *AFTER_S])
    before, after = batches[: len(BEFORE_S)], batches[len(BEFORE_S) :]
    return figures_of(sent, before, after, spans=SPANS, stopping_s=30.0, start_s=60.0)


def test_an_outage_is_told_as_it_was():
    outage = figures()["outage"]
    assert outage["stopped_s"] == 30.0
    assert outage["backlog"] == pytest.approx(30.1 * RATE, abs=2)
    assert outage["caught_up_s"] == 4.0
    assert outage["batches"] == 1
    assert outage["events"] == pytest.approx(34 * RATE, abs=2)
    assert outage["events_per_s"] == pytest.approx(34 * RATE / 0.1, rel=0.01)
    assert outage["longest_wait_s"] == pytest.approx(34.0, abs=0.2)


def test_what_was_sent_is_what_the_ledger_says():
    result = figures()
    assert result["sent"] == result["ledger"]["consumed"] == 70 * RATE
    assert result["sender_late_p99_ms"]["surge"] == pytest.approx(1.0)


def test_a_job_that_keeps_half_the_backlog_has_not_caught_up():
    sent, batches = run_of(70, [*BEFORE_S, *AFTER_S])
    intended_s, latency_s = timed(sent, batches)
    half = batch(60, ends=4000, at_s=62.0, consumed=1000)
    late = [half, *batches[len(BEFORE_S) :]]
    assert caught_up_at(intended_s, intended_s + latency_s, late, limit_s=1.0) == 64.0
    assert caught_up_at(intended_s, intended_s + latency_s, [half], limit_s=1.0) is None


def test_events_of_no_batch_yet_are_left_out_and_a_repeated_batch_counts_as_its_repeat():
    sent, batches = run_of(10, [2.0, 4.0])
    repeat = batch(1, ends=batches[1].end_offsets[0], at_s=9.0, consumed=200)
    intended_s, latency_s = timed(sent, [*batches, repeat])
    assert len(intended_s) == batches[1].end_offsets[0] < len(sent)
    assert latency_s[-1] == pytest.approx(9.0 - intended_s[-1])


@given(st.integers(0, 30), st.floats(0.2, 3.0))
def test_latency_is_normal_from_the_first_window_without_a_slow_event(slow_until_s, limit_s):
    intended_s = np.arange(0, 60, 0.01)
    latency_s = np.where(intended_s < slow_until_s, 10 * limit_s, limit_s / 2)
    found = normal_from(intended_s, latency_s, since_s=0.0, until_s=60.0, limit_s=limit_s)
    assert found == float(slow_until_s)
    assert normal_from(intended_s, latency_s, since_s=0.0, until_s=slow_until_s + 4.9, limit_s=limit_s) is None


@given(st.lists(st.floats(0, 100), min_size=1, max_size=200))
def test_percentiles_are_in_milliseconds(latency_s):
    said = percentiles_ms(np.array(latency_s))
    assert said["max"] == pytest.approx(max(latency_s) * 1000, abs=0.05)
    assert said["p50"] <= said["p95"] <= said["p99"] <= said["max"] + 0.1


def test_a_backlog_is_what_was_meant_to_be_sent_and_is_not_acknowledged():
    assert backlog_at(np.array([1.0, 2.0, 3.0, 9.0]), np.array([4.0, 2.5, 8.0, 10.0]), at_s=5.0) == 1


def test_a_phase_without_events_is_an_error():
    with pytest.raises(ValueError, match="no event"):
        phase(np.array([1.0]), np.array([1.0]), 5.0, 6.0)


def test_the_pace_follows_the_rates_one_after_the_other():
    events = ((b"k", b"%d" % number) for number in range(100))
    timed_events = list(paced(events, [(2.0, 2.0), (10.0, 0.5)], begin_s=100.0))
    assert [at_s for at_s, _, _ in timed_events] == pytest.approx(
        [100, 100.5, 101, 101.5, 102, 102.1, 102.2, 102.3, 102.4]
    )
    assert [value for _, _, value in timed_events] == [b"%d" % number for number in range(9)]


def test_a_log_that_is_being_written_gives_its_whole_rows(tmp_path):
    log = tmp_path / "sent"
    assert count_sent(log) == len(sent_so_far(log)) == 0
    rows = np.arange(12.0).reshape(3, 4)
    log.write_bytes(rows.tobytes()[:-5])
    np.testing.assert_array_equal(sent_so_far(log), rows[:2])
    assert count_sent(log) == 2


def results():
    plan = {"normal_per_s": 100.0, "surge_per_s": 100.0, "warm_up_s": 20.0}
    machine = {"cores": 2, "cpu": "a processor", "memory_gib": 8.0, "load_average_at_start": [0.1, 0.1, 0.1]}
    made = {"date": "2026-01-02T00:00:00+00:00", "commit": "abc1234"}
    return made | {"machine": machine, "plan": plan, "regions": 2} | figures()


def test_the_page_names_a_sender_that_was_late_and_a_ledger_that_is_wrong():
    good = results()
    assert "Nothing was lost or doubled" in surge_page(good)
    assert "on 2026-01-02, of commit abc1234." in surge_page(good)
    assert sender_said(good) == "The sender kept to its schedule."
    assert "is not what was sent" in surge_page(good | {"sent": good["sent"] + 1})
    late = good | {"sender_late_p99_ms": good["sender_late_p99_ms"] | {"surge": 2500.0}}
    assert "**The sender fell behind its schedule** (2,500 ms at p99 in the phase `surge`)" in surge_page(late)


def test_the_table_has_a_line_for_every_phase():
    lines = phase_table(results()).splitlines()
    assert len(lines) == 2 + len(SPANS)
    assert lines[2].startswith("| normal, 100 events/s | 10 | 1,000 | ")

"""Runs under load: what is sent, and what is said of latencies, an outage and growth."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from scipy.stats import linregress

from benchmarks.load import (
    Bound,
    LoadPlan,
    backlog_at,
    beyond_heap_bytes,
    caught_up_at,
    judge,
    ledger_faults,
    newest_of_each,
    noise_per_hour,
    outage_of,
    percentiles_ms,
    phase,
    slope_per_hour,
    timed,
    what_is_wrong,
)
from benchmarks.measured_job import TimedBatch
from benchmarks.traffic import (
    KINDS,
    TrafficOrders,
    bench_specs,
    count_sent,
    expected_ledger,
    messages,
    sent_so_far,
    synthetic_events,
)
from models.counting.count_state import CountState
from schemas.decode import decode_messages
from tests.harness.toy import toy_messages

T_S = np.arange(0.0, 1800.0, 5.0)
MEMORY = Bound(name="mib", words="memory", unit="MiB", share=0.0, at_least=100.0, reason="it must not grow")


def judged(values, bound=MEMORY, *, from_s=900.0):
    """The verdict on samples every five seconds."""
    (verdict,) = judge({"t_s": T_S[: len(values)], "mib": values}, [bound], from_s=from_s)
    return verdict


def noisy(growth_per_hour, *, level=900.0, seed=0):
    return level + growth_per_hour * T_S / 3600 + np.random.default_rng(seed).normal(0, 5, len(T_S))


_VALUES = st.floats(-1e6, 1e6).map(lambda value: round(value, 3))  # SciPy's correlation divides by their squares


@given(st.lists(st.tuples(st.integers(0, 4000), _VALUES), min_size=3, max_size=40, unique_by=lambda p: p[0]))
def test_the_slope_is_that_of_scipy(points):
    t_s, values = np.array(points, np.float64).T
    expected = linregress(t_s / 3600, values).slope
    assert slope_per_hour(t_s, values) == pytest.approx(expected, rel=1e-6, abs=1e-6 * (1 + np.abs(values).max()))


def test_samples_that_are_missing_do_not_count_and_two_make_no_slope():
    values = noisy(40)
    holes = np.where(np.arange(len(T_S)) % 3 == 0, values, np.nan)
    assert slope_per_hour(T_S, holes) == pytest.approx(linregress(T_S[::3] / 3600, values[::3]).slope)
    with pytest.raises(ValueError, match="2 samples are too few"):
        slope_per_hour(T_S[:3], np.array([1.0, np.nan, 2.0]))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("growth", "is_beyond"), [(0, False), (-500, False), (60, False), (200, True), (5000, True)])
def test_a_leak_is_flagged_and_noise_is_not(growth, is_beyond, seed):
    verdict = judged(noisy(growth, seed=seed))
    assert verdict.is_beyond == is_beyond
    assert (verdict.words == "beyond") == is_beyond


def test_noise_is_twice_scipys_standard_error_of_the_means_over_a_minute():
    values = noisy(40)
    minutes = T_S.reshape(30, 12).mean(axis=1) / 3600
    expected = 2 * linregress(minutes, values.reshape(30, 12).mean(axis=1)).stderr
    assert noise_per_hour(T_S, values) == pytest.approx(expected)


def test_a_slope_that_noise_explains_is_called_so_and_a_short_run_is_excused_nothing():
    swings = 900 + 120 * T_S / 3600 + 80 * np.sin(T_S / 97)
    assert judged(swings).noise_per_hour > 100
    short = judged(swings[:20], from_s=0.0)
    assert (short.noise_per_hour, short.is_beyond) == (0.0, True)
    before = judged(np.where(T_S < 900, T_S, 900.0))
    assert (before.slope_per_hour, before.at_middle, before.at_end, before.words) == (0.0, 900.0, 900.0, "within")


def test_a_bound_by_share_follows_the_mean_but_never_falls_below_its_least():
    bound = replace(MEMORY, share=0.5, at_least=10.0)
    assert [judged(np.full(len(T_S), level), bound).most_per_hour for level in (1000.0, 4.0)] == [500.0, 10.0]


def test_growth_is_wrong_once_the_run_was_long_enough_to_tell():
    growth = [judged(noisy(growth)) for growth in (0, 5000)]
    plans = [LoadPlan(rate_per_s=100, minutes=minutes, speed=2880) for minutes in (29, 30)]
    said = [what_is_wrong({"plan": plan, "growth": growth, "faults": []}) for plan in plans]
    assert said == [[], ["memory: beyond; it must not grow"]]
    assert what_is_wrong({"plan": plans[0], "faults": ["counted: 8"]}) == ["counted: 8"]


def test_a_ledger_that_is_not_what_was_sent_is_named():
    expected = {"consumed": 10, "counted": 7, "duplicate": 3}
    assert ledger_faults(expected, expected) == []
    said = ledger_faults({"consumed": 10, "counted": 8, "duplicate": 3}, expected)
    assert said[0] == "counted: 8 in the ledger, 7 were sent"
    assert "does not balance" in said[1]


def test_the_heap_of_a_jvm_is_told_apart_by_its_address():
    smaps = """80000000-95a80000 rw-p 00000000 00:00 0
Rss:              900000 kB
Pss:              800000 kB
Pss_Dirty:        700000 kB
100000000-1001e0000 rw-p 00000000 00:00 0
Pss:                2000 kB
7f924cec7000-7f924ee57000 rwxp 00000000 00:00 0 /usr/lib/some-library.so
Pss:                  64 kB
SwapPss:               8 kB
"""
    assert beyond_heap_bytes(smaps) == 2064 * 1024


def test_of_a_sawtooth_what_the_cleaning_leaves_is_judged():
    """Teeth that grow higher because batches come faster are no leak; a level that rises between them is one."""
    teeth = 300 + (T_S % 60) * (1 + T_S / 1800)
    bound = replace(MEMORY, at_least=20.0, is_sawtooth=True)
    calm = judged(teeth, bound)
    assert (round(calm.slope_per_hour), calm.is_within) == (0, True)
    leak = judged(teeth + T_S / 36, bound)
    assert (round(leak.slope_per_hour), leak.is_beyond) == (100, True)
    assert judged(teeth, replace(bound, is_sawtooth=False)).slope_per_hour > 20


RATE = 100


def batch(number, *, ends, at_s, consumed, took_s=0.1):
    ledger = {"consumed": consumed, "counted": consumed}
    return TimedBatch(
        batch_id=number, started_s=at_s - took_s, acknowledged_s=at_s, ledger=ledger, end_offsets={0: ends}
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


ORDERS = TrafficOrders(
    bootstrap="",
    topic="",
    regions=2,
    rate_per_s=500,
    seconds=12,
    is_mixed=True,
    speed=2880,
    simulated_begin_s=1_700_000_000,
    seed=7,
    log="",
    kinds="",
)


def sent_of(orders, begin_s=0.0):
    sent = Counter()
    return list(messages(orders, begin_s, sent)), sent


def test_a_job_that_counts_right_arrives_at_the_expected_ledger():
    timed, sent = sent_of(ORDERS)
    specs = {spec.region: spec for spec in bench_specs(2)}
    states = {name: CountState(spec) for name, spec in specs.items()}
    ledger = Counter(consumed=len(timed))
    for start in range(0, len(timed), 700):
        values = [value for _, _, value in timed[start : start + 700]]
        offset = range(start, start + len(values))
        decoded = decode_messages(toy_messages(values, 1_800_000_000_000, offset=offset), specs)
        ledger["rejected"] += sum(map(len, decoded.rejections.values()))
        for name, incidents in decoded.incidents.items():
            applied = states[name].apply(incidents, int(incidents.received_ms.max()) // 1000)
            ledger.update(applied.outcomes)
            ledger["rejected"] += len(applied.ahead_of_clock) + len(applied.older_than_memory)
    assert +ledger == expected_ledger(sent)
    assert set(sent) == set(KINDS)
    timed, sent = sent_of(structs.replace(ORDERS, is_mixed=False))
    assert (sent, len({key for _, key, _ in timed})) == ({"new": 6000}, 6000)


def test_it_is_sent_at_the_rate_and_by_both_regions():
    timed, sent = sent_of(ORDERS, begin_s=100.0)
    assert len(timed) == sum(sent.values()) == 6000
    np.testing.assert_allclose([at_s for at_s, _, _ in timed], 100 + np.arange(6000) / 500)
    assert {value.split(b'"region":"')[1].split(b'"')[0] for _, key, value in timed if key != b"rubbish"} == {
        b"bench-1",
        b"bench-2",
    }


AS_OF_S = 1_767_225_600


def test_every_event_is_accepted_and_the_regions_share_them_evenly():
    specs = {spec.region: spec for spec in bench_specs(4)}
    pairs = list(synthetic_events([*specs.values()], 2000, seed=3, as_of_s=AS_OF_S))
    values = [value for _, value in pairs]
    decoded = decode_messages(toy_messages(values, AS_OF_S * 1000), specs)
    assert not decoded.rejections
    assert {region: len(part) for region, part in decoded.incidents.items()} == dict.fromkeys(specs, 500)
    assert len({key for key, _ in pairs}) == 2000
    assert 250 <= sum(map(len, values)) / 2000 <= 310
    assert all(b'"%s"' % key in value for key, value in pairs)

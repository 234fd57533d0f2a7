"""What the soak sends, counted without Spark: the ledger that it expects is the one that a job must arrive at."""

from collections import Counter

import numpy as np

from benchmarks.plan import bench_spec
from benchmarks.soak_traffic import KINDS, SIDE, Orders, Region, expected_ledger, messages
from models.counting.count_state import CountState
from schemas.decode import decode_messages
from tests.harness.toy import toy_messages

ORDERS = Orders(
    bootstrap="",
    topic="",
    regions=[Region(name="one", from_s=0, to_s=12), Region(name="two", from_s=3, to_s=6)],
    rate_per_s=500,
    seconds=12,
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
    specs = {name: bench_spec(name, SIDE) for name in ("one", "two")}
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
            ledger["rejected"] += len(applied.future) + len(applied.late)
    assert +ledger == expected_ledger(sent)
    assert set(sent) == set(KINDS)


def test_it_is_sent_at_the_rate_and_by_the_regions_that_are_there():
    timed, sent = sent_of(ORDERS, begin_s=100.0)
    assert len(timed) == sum(sent.values()) == 6000
    np.testing.assert_allclose([at_s for at_s, _, _ in timed], 100 + np.arange(6000) / 500)
    of_two = [at_s for at_s, _, value in timed if value and b'"region":"two"' in value]
    assert min(of_two) >= 103.0
    fresh = [at_s for at_s, _, value in timed if value and b'"region":"two"' in value and b'"revision":0' in value]
    assert np.histogram(fresh, [100, 103, 106])[0].tolist()[0] == 0

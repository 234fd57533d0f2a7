"""What the driver of load sends, counted without Spark: a job must arrive at the ledger that it expects."""

from collections import Counter

import numpy as np
from msgspec import structs

from benchmarks.traffic import KINDS, TrafficOrders, bench_specs, expected_ledger, messages, synthetic_events
from models.counting.count_state import CountState
from schemas.decode import decode_messages
from tests.harness.toy import toy_grid, toy_messages, toy_spec

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


def test_it_is_sent_at_the_rate_and_by_both_regions():
    timed, sent = sent_of(ORDERS, begin_s=100.0)
    assert len(timed) == sum(sent.values()) == 6000
    np.testing.assert_allclose([at_s for at_s, _, _ in timed], 100 + np.arange(6000) / 500)
    assert {value.split(b'"region":"')[1].split(b'"')[0] for _, key, value in timed if key != b"rubbish"} == {
        b"bench-1",
        b"bench-2",
    }


def test_what_is_not_mixed_is_new_incidents_alone():
    timed, sent = sent_of(structs.replace(ORDERS, is_mixed=False))
    assert sent == {"new": 6000}
    assert len({key for _, key, _ in timed}) == 6000


AS_OF_S = 1_767_225_600
SPECS = [
    toy_spec(
        grid=toy_grid(48, 48, south_deg=41.6, west_deg=-87.9),
        region=f"town-{number}",
        categories=("ems", "fire", "traffic"),
    )
    for number in range(4)
]


def test_every_event_is_accepted_and_the_regions_share_them_evenly():
    pairs = list(synthetic_events(SPECS, 2000, seed=3, as_of_s=AS_OF_S))
    values = [value for _, value in pairs]
    n = len(values)
    decoded = decode_messages(toy_messages(values, AS_OF_S * 1000), {spec.region: spec for spec in SPECS})
    assert not decoded.rejections
    assert {region: len(part) for region, part in decoded.incidents.items()} == {spec.region: 500 for spec in SPECS}
    assert len({key for key, _ in pairs}) == n
    assert 250 <= sum(map(len, values)) / n <= 310
    assert all(b'"%s"' % key in value for key, value in pairs)


def test_the_seed_decides_and_ids_of_two_seeds_do_not_meet():
    first, same, other = (list(synthetic_events(SPECS, 50, seed=seed, as_of_s=AS_OF_S)) for seed in (1, 1, 2))
    assert first == same
    assert not {key for key, _ in first} & {key for key, _ in other}

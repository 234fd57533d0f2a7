"""What challengers cost: pairs of interleaved runs, the latency of blocks, and events whose clock leaps by hours."""

from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.job import TimedBatch
from benchmarks.plan import bench_specs
from benchmarks.shadow_figures import ShadowPlan, block_medians_ms, neighbours, rates_of, ratios, wrong_blocks
from benchmarks.shadow_traffic import leaping_events
from schemas.decode import decode_messages
from schemas.spec import HOUR_S
from tests.harness.toy import toy_messages

FIRST_S = 1_700_000_000 // HOUR_S * HOUR_S


@given(st.integers(1, 9))
def test_each_round_runs_both_and_neither_is_always_the_first(rounds):
    order = ShadowPlan(rounds=rounds).order
    assert [set(order[at : at + 2]) for at in range(0, len(order), 2)] == [{True, False}] * rounds
    assert abs(sum(order[::2]) - rounds / 2) <= 0.5
    values = [f"{'with' if is_tried else 'without'} {at // 2}" for at, is_tried in enumerate(order)]
    assert neighbours(order, values) == [(f"without {number}", f"with {number}") for number in range(rounds)]


@given(st.lists(st.booleans(), max_size=12))
def test_pairs_are_neighbours_of_both_kinds_and_no_value_is_used_twice(is_with):
    pairs = neighbours(is_with, range(len(is_with)))
    assert all(abs(beside - alone) == 1 and is_with[beside] and not is_with[alone] for alone, beside in pairs)
    used = [at for pair in pairs for at in pair]
    assert len(used) == len(set(used))
    if set(is_with) == {True, False}:
        assert pairs


def test_a_batchs_rate_is_of_the_time_since_the_last_one_and_its_arm_is_what_was_kept_in_it():
    ends = [8.0, 10.0, 12.0, 12.5, 16.0]
    batches = [
        TimedBatch(
            batch_id=number,
            started_s=end - 0.4,
            acknowledged_s=end,
            points=1,
            ledger={"consumed": consumed},
            end_offsets={},
        )
        for number, (end, consumed) in enumerate(zip(ends, [100, 100, 100, 0, 200], strict=True))
    ]
    assert rates_of(batches, [9.9, 15.8]) == ([False, True], [50.0, 50.0])
    assert rates_of(batches, [11.9, 14.0]) == ([True, False], [50.0, 50.0])


def test_the_ratio_is_the_median_of_the_rounds_ratios():
    found = ratios([(100.0, 50.0), (10.0, 20.0), (40.0, 36.0)])
    assert found == {"pairs": 3, "without": 40.0, "with": 36.0, "ratio": 0.9, "spread": [0.5, 2.0]}


def test_a_blocks_median_leaves_out_its_first_seconds_and_all_other_blocks():
    begin_s = 1000.0
    intended_s = np.arange(980.0, 1060.0, 0.5)
    block = (intended_s - begin_s) // 20
    latency_s = np.select([block == 0, block == 1], [0.3, 0.5], 9.0)
    latency_s[(intended_s - begin_s) % 20 < 5] = 7.0
    plan = ShadowPlan(rounds=1, block_s=20.0)
    assert block_medians_ms(intended_s, latency_s, begin_s, plan) == pytest.approx([300.0, 500.0])


def test_a_block_whose_challengers_were_not_scored_as_ordered_is_found():
    begin_s, plan = 1000.0, ShadowPlan(rounds=2, block_s=20.0, hour_s=5.0)
    assert plan.order == [False, True, True, False]

    def wrong(kept_s):
        return wrong_blocks(kept_s, begin_s, plan, regions=2)

    kept_s = [begin_s + block * 20 + second for block in (1, 2) for second in (6, 6.1, 11, 11.1, 16, 16.1)]
    assert wrong(kept_s) == []
    assert wrong([*kept_s, begin_s + 61]) == []  # in a block's first seconds
    assert wrong(kept_s[2:]) == []  # an hour was passed over
    assert wrong(kept_s[4:]) == [1]
    assert wrong([*kept_s, begin_s + 66]) == [3]
    assert wrong([]) == [1, 2]


def test_the_clock_leaps_by_an_hour_and_stays_in_an_hours_first_minute():
    specs = bench_specs(2)
    values = [value for _, value in islice(leaping_events(specs, 50, first_s=FIRST_S), 150)]
    for number in range(3):
        hour_s = FIRST_S + number * HOUR_S
        messages = toy_messages(values[50 * number : 50 * (number + 1)], (hour_s + 59) * 1000)
        decoded = decode_messages(messages, {spec.region: spec for spec in specs})
        assert not decoded.rejections
        received_s = np.concatenate([part.received_ms for part in decoded.incidents.values()]) / 1000
        assert len(received_s) == 50
        assert hour_s <= received_s.min() <= received_s.max() < hour_s + 60

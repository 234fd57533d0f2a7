import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.rates import Rate, latencies, rate_of
from benchmarks.rivals import Outcome, compared


def test_a_steady_rate_leaves_the_warm_up_out_and_a_total_does_not():
    #  read from t=100; 1000 events done at 110 (slow start), 3000 at 112
    rate = rate_of([(1000, 110.0), (2000, 111.0), (3000, 112.0)], started_s=100.0, warm_up_events=1000)
    assert (rate.steady_eps, rate.total_eps, rate.warm_up_events) == (1000.0, 250.0, 1000)


def test_a_run_that_ends_within_its_warm_up_has_no_rate():
    with pytest.raises(ValueError, match="warm-up"):
        rate_of([(1000, 110.0)], started_s=100.0, warm_up_events=1000)


@given(st.data())
def test_every_event_is_timed_by_the_batch_that_took_it(data):
    """Against a simulation that knows which batch took which event, of two partitions."""
    batches = data.draw(st.lists(st.lists(st.sampled_from([0, 1]), max_size=6), min_size=1, max_size=6))
    sent, expected, end_offsets, end = [], [], [], {0: 0, 1: 0}
    for number, partitions in enumerate(batches):
        for partition in partitions:
            intended_s = number + data.draw(st.floats(-5, 0))
            sent.append((partition, end[partition], intended_s))
            expected.append(10.0 * number - intended_s)
            end[partition] += 1
        end_offsets.append(dict(end))
    order = data.draw(st.permutations(range(len(sent))))
    rows = np.array([sent[i] for i in order], np.float64).reshape(-1, 3)
    acknowledged_s = 10.0 * np.arange(len(batches))
    np.testing.assert_allclose(latencies(rows, acknowledged_s, end_offsets), [expected[i] for i in order])


def test_an_event_that_no_batch_took_is_an_error():
    with pytest.raises(IndexError):
        latencies(np.array([[0, 5, 1.0]]), np.array([2.0]), [{0: 5}])


def rate(eps):
    return Rate(steady_eps=eps, total_eps=eps, events=1, warm_up_events=0, seconds=1.0)


def test_a_ratio_is_the_median_of_the_rounds_and_each_round_is_compared_with_its_own_pair():
    ours = [rate(100.0), rate(50.0), rate(90.0)]
    theirs = [Outcome(rate=rate(50.0)), Outcome(rate=rate(100.0)), Outcome(rate=rate(30.0))]
    figures = compared("loop", ours, theirs)
    assert (figures["ratio_to_loop"], figures["ratio_to_loop_spread"]) == (2.0, [0.5, 3.0])
    assert (figures["loop_eps"], figures["ratio_to_loop_reason"]) == (50, None)


def test_a_rival_that_failed_is_compared_in_the_other_rounds_and_the_reason_is_kept():
    figures = compared("loop", [rate(4.0), rate(9.0)], [Outcome(reason="too slow"), Outcome(rate=rate(3.0))])
    assert (figures["ratio_to_loop"], figures["ratio_to_loop_reason"]) == (3.0, "too slow")
    figures = compared("loop", [rate(4.0)], [Outcome(reason="not to be had")])
    assert (figures["ratio_to_loop"], figures["loop_eps"], figures["ratio_to_loop_spread"]) == (None, None, None)

"""The host's clock steps by an hour: a region's clock never goes back, and every event keeps its count."""

import pytest

from schemas.incidents import unpack_rejections
from tests.harness.region_bench import MIDDLE, NOW, event

pytestmark = pytest.mark.usefixtures("empty_cache")
HOUR_S = 3600


@pytest.mark.fault("F20")
def test_a_clock_that_steps_an_hour_back_and_ahead_moves_no_region_back(tmp_path, toy, new_bench):
    spec = toy("riverton")
    bench = new_bench(tmp_path, spec)
    host = [NOW, NOW - HOUR_S, NOW - HOUR_S + 60, NOW + HOUR_S, NOW + 120, NOW + HOUR_S + 60]
    clocks, totals = [], None
    for number, at_s in enumerate(host):
        bench.tester._currentProcessingTimeMs = (
            at_s * 1000
        )  # Spark's own test clock refuses to go back; a host does not
        _, summary = bench.batch(at_s, event(spec, at_s - 30, cell=MIDDLE, number=number))["riverton"]
        clocks.append(summary.as_of_s)
        totals = summary.totals
    assert clocks == [NOW, NOW, NOW, NOW + HOUR_S, NOW + HOUR_S, NOW + HOUR_S + 60]
    assert totals["consumed"] == totals["counted"] == len(host)
    assert totals["rejected"] == 0


@pytest.mark.fault("F20")
def test_events_of_a_right_clock_are_refused_with_their_place_while_the_hosts_is_an_hour_behind(
    tmp_path, toy, new_bench
):
    spec = toy("riverton")
    bench = new_bench(tmp_path, spec)
    bench.batch(NOW, event(spec, NOW - 30, number=1))
    behind_s = NOW - HOUR_S
    bench.tester._currentProcessingTimeMs = behind_s * 1000
    _, summary = bench.batch(behind_s, event(spec, NOW - 20, number=2), sent_s=NOW)["riverton"]
    assert summary.as_of_s == NOW
    assert {name: count for name, count in summary.totals.items() if count} == {
        "consumed": 2,
        "counted": 1,
        "rejected": 1,
        "rejected_future": 1,
    }
    (refused,) = unpack_rejections(summary.rejections)
    assert (refused.reason, refused.kafka_offset) == ("future", 1)

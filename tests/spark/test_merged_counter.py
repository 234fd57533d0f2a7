"""The stateful stage of a region that merges repeated calls, against the recount of the fault tests. No JVM."""

import json

import numpy as np
import pytest

from streaming.flow import count
from tests.faults.oracle import Expected, Region
from tests.harness.region_bench import NOW, event

pytestmark = pytest.mark.usefixtures("empty_cache")


def calls(spec, batches=60):
    """Batches of calls from few places within some 400 m, corrected, cancelled and moved, at a clock that creeps."""
    draw = np.random.default_rng(8)
    at_s, (lat, lon) = NOW, (column[14] for column in spec.grid.centres())
    for number in range(batches):
        at_s += int(draw.choice([1, 60, 301, 3600], p=[0.3, 0.4, 0.2, 0.1]))
        yield (
            at_s,
            [
                event(
                    spec,
                    at_s - int(draw.integers(0, 1500)),
                    number=int(draw.integers(0, 80)),
                    lat=float(lat + 0.001 * draw.integers(0, 5)),
                    lon=float(lon),
                    category=("fire", "fire", "ems")[int(draw.integers(0, 3))],
                    revision=number,
                    status=("open", "open", "open", "cancelled")[int(draw.integers(0, 4))],
                )
                for _ in range(int(draw.choice([0, 1, 6])))
            ],
        )


def test_ledger_and_counts_equal_the_recount_whatever_a_worker_has_cached(tmp_path, toy, new_bench):
    spec = toy("riverton", merge="repeated_calls")
    bench = new_bench(tmp_path, spec)
    [manifest] = bench.artifacts.glob("*/*/manifest.json")
    region = Region.of(json.loads(manifest.read_bytes()))
    expected = Expected({region.name: region.start_s})
    for number, (at_s, values) in enumerate(calls(spec)):
        if number % 3 == 0:
            count._LIVE.clear()
        messages = [(0, bench.offset + place, value, at_s * 1000) for place, value in enumerate(values)]
        expected.take(messages, {region.name: region}, now_s=at_s)
        _, summary = bench.batch(at_s, *values)["riverton"]
        totals = {name: total for name, total in summary.totals.items() if total}
        assert totals == {name: total for name, total in expected.ledger["riverton"].items() if total}
        in_hours = bench.counts(spec).levels["hour"].sum_of_newest(24).reshape(spec.grid.cells, -1).sum(axis=0).tolist()
        held = expected.moment(region).counting
        assert in_hours == [sum(kind == name for _, kind, _ in held) for name in spec.categories]
    assert min(totals[name] for name in ("counted", "corrected", "repeated")) > 5

"""`python -m benchmarks.once FILE [--quick]`: throughput, latency and start of this tree, for `benchmarks against`."""

import json
import signal
import sys
from pathlib import Path
from typing import Any

from benchmarks.bench import load_events
from benchmarks.latency import measure_latency
from benchmarks.plan import AGAINST, QUICK, Sizes, bench_specs
from benchmarks.product import FLOOR, measure_throughput
from benchmarks.stack import running_stack

REGIONS = 4


def measure_once(plan: Sizes) -> dict[str, Any]:
    """Each figure once, on a stack of its own. Latencies are given beside those of Spark with empty stages."""
    with running_stack(plan) as stack:
        loaded = load_events(stack, REGIONS, lambda what: None)
        rate = measure_throughput(stack, "throughput", topic=loaded.topic, specs=bench_specs(REGIONS))
        product, floor = measure_latency(stack), measure_latency(stack, FLOOR)
    return {
        "throughput_eps": round(rate.steady_eps),
        "p50_ms": product["latency_ms"]["p50"],
        "p99_ms": product["latency_ms"]["p99"],
        "p99_to_floor": round(product["latency_ms"]["p99"] / floor["latency_ms"]["p99"], 3),
        "start_s": product["start_s"],
    }


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that broker and store are ended
    Path(sys.argv[1]).write_text(json.dumps(measure_once(QUICK if "--quick" in sys.argv else AGAINST)))

"""Latency of every event: from the time it was meant to be sent to the store's acknowledgement of its scores."""

import time
from typing import Any

import numpy as np

from benchmarks.drive import REGIONS, LoadPlan, running_traffic
from benchmarks.outage import percentiles_ms, timed
from benchmarks.plan import bench_specs
from benchmarks.product import PRODUCT, running_job
from benchmarks.stack import Stack
from benchmarks.traffic import sent_so_far

_LIMIT_S = 120.0


def measure_latency(stack: Stack, module: str = PRODUCT) -> dict[str, Any]:
    """Percentiles in milliseconds over all events sent after the warm-up, how punctual the sender was, and the start.

    start_s: seconds from the start of the process to the first acknowledged batch.
    """
    plan = stack.plan
    name = module.rpartition(".")[2]
    topic, seconds = stack.topic(f"live-{name}"), plan.latency_warm_up_s + plan.latency_s
    load = LoadPlan(rate_per_s=plan.rate_per_s, minutes=seconds / 60)
    with running_job(stack, f"latency-{name}", topic=topic, specs=bench_specs(REGIONS), module=module) as job:
        job.wait_until_ready()
        start_s = job.batches()[0].acknowledged_s - job.started_s
        with running_traffic(stack, topic, load, begin_s=int(time.time()), is_mixed=False) as sender:
            sender.wait(seconds + _LIMIT_S)
            sent = sent_so_far(sender.log)
        batches = job.wait_until_consumed(len(sent))
        job.stop()
    intended_s, latency_s = timed(sent, batches)
    is_measured = intended_s >= intended_s[0] + plan.latency_warm_up_s
    latency_ms = percentiles_ms(latency_s[is_measured])
    return {
        "latency_worst_ms": latency_ms.pop("max"),
        "latency_ms": latency_ms,
        "latency_events": int(is_measured.sum()),
        "latency_producer_late_p99_ms": round(float(np.percentile(sent[:, 3] - sent[:, 2], 99)) * 1000, 1),
        "latency_rate_per_s": plan.rate_per_s,
        "latency_warm_up_s": plan.latency_warm_up_s,
        "latency_regions": REGIONS,
        "start_s": round(start_s, 1),
    }

"""Latency of every event: from the time it was meant to be sent to the store's acknowledgement of its scores."""

import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.child import child, wait_for
from benchmarks.plan import WARM_UP_EVENTS_OF_LATENCY, bench_specs
from benchmarks.product import PRODUCT, running_job
from benchmarks.rates import latencies
from benchmarks.stack import Stack

REGIONS = 2
PERCENTILES = (50, 95, 99)
_SEEDS = {"warm-up": 50, "live": 51}


def measure_latency(stack: Stack, module: str = PRODUCT) -> dict[str, Any]:
    """Percentiles in milliseconds over all events sent after the warm-up, and how punctual the producer was."""
    plan = stack.plan
    name = module.rpartition(".")[2]
    topic = stack.topic(f"live-{name}")
    events = round(plan.rate_per_s * (plan.latency_warm_up_s + plan.latency_s))
    with running_job(stack, f"latency-{name}", topic=topic, specs=bench_specs(REGIONS), module=module) as job:
        job.wait_until_ready()
        _send(stack, topic, "warm-up", WARM_UP_EVENTS_OF_LATENCY)
        job.wait_until_consumed(WARM_UP_EVENTS_OF_LATENCY)
        sent = _send(stack, topic, "live", events)
        batches = job.wait_until_consumed(WARM_UP_EVENTS_OF_LATENCY + events)
        job.stop()
    latency_s = latencies(
        sent, np.array([batch.acknowledged_s for batch in batches]), [batch.end_offsets for batch in batches]
    )
    is_measured = sent[:, 2] >= sent[0, 2] + plan.latency_warm_up_s
    measured, late_s = latency_s[is_measured], (sent[:, 3] - sent[:, 2])[is_measured]
    p50, p95, p99 = (round(float(value) * 1000, 1) for value in np.percentile(measured, PERCENTILES))
    return {
        "latency_ms": {"p50": p50, "p95": p95, "p99": p99},
        "latency_worst_ms": round(float(measured.max()) * 1000, 1),
        "latency_events": len(measured),
        "latency_producer_late_p99_ms": round(float(np.percentile(late_s, 99)) * 1000, 1),
        "latency_rate_per_s": plan.rate_per_s,
        "latency_warm_up_s": plan.latency_warm_up_s,
        "latency_regions": REGIONS,
    }


def _send(stack: Stack, topic: str, name: str, events: int) -> npt.NDArray[np.float64]:
    folder = stack.folder / f"{topic}-{name}"
    orders = {
        "bootstrap": stack.bootstrap,
        "topic": topic,
        "regions": REGIONS,
        "events": events,
        "rate_per_s": stack.plan.rate_per_s,
        "seed": _SEEDS[name],
        "result": str(folder / "sent.npy"),
    }
    with child("benchmarks.live_producer", orders, folder, python=sys.executable) as process:
        done = (folder / "sent.npy").is_file
        wait_for(process, folder, done=done, limit_s=60 + 2 * events / stack.plan.rate_per_s)
    return np.asarray(np.load(folder / "sent.npy", allow_pickle=False))

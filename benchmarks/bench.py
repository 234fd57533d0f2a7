"""The whole benchmark: every measurement in turn, on one stack."""

import time
from dataclasses import dataclass
from statistics import median
from typing import Any

from benchmarks.drive import Say
from benchmarks.full_frame import measure_full_frames
from benchmarks.latency import measure_latency
from benchmarks.machine import describe_machine, describe_versions, made_at
from benchmarks.plan import CATEGORIES, FRAME_SIDES, SIDE, Sizes, bench_specs
from benchmarks.product import FLOOR, measure_throughput
from benchmarks.rivals import RIVALS, Outcome, compared, measure_rival
from benchmarks.sending import load_topic
from benchmarks.stack import Stack, running_stack
from benchmarks.synthetic import synthetic_events
from streaming.rehearse.broker import TOPIC_PARTITIONS

REGIONS = (4, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A topic that was filled before the clock starts."""

    topic: str
    event_bytes: float


def measure_all(plan: Sizes, say: Say) -> dict[str, Any]:
    """The results, ready to be written. Raises where the product fails or counts wrong; a rival may be missing."""
    results: dict[str, Any] = {**made_at(), "plan": plan.name, "machine": describe_machine()}
    say("starting Kafka and victoria-metrics")
    with running_stack(plan) as stack:
        loaded = {count: load_events(stack, count, say) for count in REGIONS}
        results["settings"] = _settings(stack, loaded)
        results |= _throughput(stack, loaded, say)
        say(f"latency at {plan.rate_per_s:.0f} events/s, {plan.latency_warm_up_s + plan.latency_s:.0f} s")
        results |= measure_latency(stack)
        say("the same with empty stages")
        results["spark_floor_latency_ms"] = measure_latency(stack, FLOOR)["latency_ms"]
        say(f"full frames of {', '.join(f'{side}x{side}' for side in FRAME_SIDES)} cells")
        results |= measure_full_frames(stack)
    results["versions"] = describe_versions()
    return results


def load_events(stack: Stack, regions: int, say: Say) -> Loaded:
    say(f"loading {stack.plan.events:,} events of {regions} region(s)")
    topic = stack.topic(f"events-of-{regions}")
    events = synthetic_events(bench_specs(regions), stack.plan.events, seed=regions, as_of_s=int(time.time()))
    return Loaded(topic=topic, event_bytes=load_topic(stack.bootstrap, topic, events))


def _throughput(stack: Stack, loaded: dict[int, Loaded], say: Say) -> dict[str, Any]:
    """Product and rivals in turn, `rounds` times; then the empty stages and the single region."""
    four, specs, ours = loaded[4], bench_specs(4), []
    theirs: dict[str, list[Outcome]] = {rival: [] for rival in RIVALS}
    for number in range(1, stack.plan.rounds + 1):
        say(f"throughput, 4 regions, round {number} of {stack.plan.rounds}")
        ours.append(measure_throughput(stack, f"product-{number}", topic=four.topic, specs=specs))
        for rival, words in RIVALS.items():
            say(f"the same of {words}")
            theirs[rival].append(measure_rival(rival, stack, f"{rival}-{number}", topic=four.topic, specs=specs))
    say("throughput, 4 regions, empty stages")
    floor = measure_throughput(stack, "floor", topic=four.topic, specs=specs, module=FLOOR)
    say("throughput, 1 region")
    single = measure_throughput(stack, "single", topic=loaded[1].topic, specs=bench_specs(1))
    return {
        "throughput_4_regions_eps": round(median(rate.steady_eps for rate in ours)),
        "throughput_4_regions_rounds": [rate.as_dict() for rate in ours],
        "throughput_1_region_eps": round(single.steady_eps),
        "throughput_1_region": single.as_dict(),
        "spark_floor_eps": round(floor.steady_eps),
        "spark_floor": floor.as_dict(),
        **{name: figure for rival in RIVALS for name, figure in compared(rival, ours, theirs[rival]).items()},
    }


def _settings(stack: Stack, loaded: dict[int, Loaded]) -> dict[str, Any]:
    """The product's settings as run, without this machine's paths and ports, and the shape of the load."""
    settings = stack.settings(topic=loaded[4].topic, specs=bench_specs(4), checkpoint="none")
    plumbing = ("sink", "clock", "starting", "trigger_s", "max_events_per_batch", "top_k", "master")
    return {
        **settings.model_dump(mode="json", include={*plumbing, "shuffle_partitions", "driver_memory"}),
        "topic_partitions": TOPIC_PARTITIONS,
        "events": stack.plan.events,
        "event_bytes": round(loaded[4].event_bytes, 1),
        "cells_per_region": SIDE * SIDE,
        "categories": len(CATEGORIES),
        "horizons": len(bench_specs(1)[0].horizons_s),
        "store": "victoria-metrics, /api/v2/write",
    }

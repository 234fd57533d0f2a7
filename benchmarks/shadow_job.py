"""What challengers cost the whole job, from Kafka to acknowledged scores: one job, with them and without in turn.

The events' clock leaps, so that every full batch, and every few seconds of live events, begin an hour of each region,
in which its challenger is scored: hundreds of times as often as it would be in earnest.
"""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.child import ChildError, child, wait_for
from benchmarks.load import load_topic
from benchmarks.machine import describe_machine, made_at
from benchmarks.plan import bench_specs
from benchmarks.product import RunningJob, ledger, running_job
from benchmarks.sent_log import sent_so_far
from benchmarks.shadow_figures import WARM_UP, ShadowPlan, block_medians_ms, neighbours, rates_of, ratios, wrong_blocks
from benchmarks.shadow_traffic import Orders, leaping_events
from benchmarks.stack import Stack, running_stack
from benchmarks.surge_figures import timed
from models.artifact.pointer import Pointer, write_pointer
from models.artifact.untrained import write_untrained
from schemas.spec import DAY_S, HOUR_S, Spec

REGIONS = 2
_WAIT_S = 10.0  # until the sender is there
_LIMIT_S = 600.0
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arms:
    """Regions with a champion and a challenger each, which is tried or not."""

    artifacts: Path
    pairs: Mapping[str, tuple[str, str]]  # region -> versions

    @classmethod
    def made(cls, folder: Path, specs: Sequence[Spec], cutoff_s: int) -> "Arms":
        pairs = {}
        for spec in specs:
            versions = []
            for number in (1, 2):
                created = datetime.fromtimestamp(cutoff_s + number, UTC).strftime("%Y%m%dT%H%M%SZ")
                made = write_untrained(folder, spec, per_day=200.0 + number, cutoff_s=cutoff_s, created=created)
                versions.append(made.name)
            pairs[spec.region] = (versions[0], versions[1])
        return cls(artifacts=folder, pairs=pairs)

    def point(self, *, is_tried: bool) -> None:
        for region, (champion, challenger) in self.pairs.items():
            pointer = Pointer(champion=champion, challenger=challenger if is_tried else None)
            write_pointer(self.artifacts, region, pointer)


def measure_job(plan: ShadowPlan, say: Say) -> dict[str, Any]:
    """Both figures, and the conditions. Raises ChildError where a run does not show what it is meant to."""
    facts = {**made_at(), "machine": describe_machine()}
    first_s = int(time.time()) // DAY_S * DAY_S - 10 * DAY_S  # of the events' clock, which stays behind ours
    with running_stack(plan.sizes) as stack:
        specs, topic = bench_specs(REGIONS), stack.topic("hours")
        arms = Arms.made(stack.folder / "artifacts", specs, first_s - DAY_S)
        arms.point(is_tried=False)
        say(f"loading {plan.sizes.events:,} events")
        per_hour = plan.per_batch // 2
        events = leaping_events(specs, per_hour, first_s=first_s)
        load_topic(stack.bootstrap, topic, islice(events, plan.sizes.events))
        with running_job(stack, "shadow", topic=topic, specs=specs, clock="event", artifacts=arms.artifacts) as job:
            throughput = _throughput(stack, job, arms, plan)
            say(f"throughput: {throughput}")
            live_s = first_s + plan.sizes.events // per_hour * HOUR_S
            latency = _latency(stack, job, arms, plan, live_s)
            job.stop()
    facts |= {"rounds": plan.rounds, "regions": REGIONS, "cells_per_region": specs[0].grid.cells}
    return {**facts, "throughput": throughput, "latency": latency}


def _throughput(stack: Stack, job: RunningJob, arms: Arms, plan: ShadowPlan) -> dict[str, Any]:
    """Of the loaded events: the arms change after each batch; what was scored in a batch says which arm it was."""
    for number, is_tried in enumerate(plan.order, start=WARM_UP):
        wait_for(job.process, job.folder, done=lambda least=number: _full(job) >= least, limit_s=_LIMIT_S)  # type: ignore[misc]
        arms.point(is_tried=is_tried)
    batches = job.wait_until_consumed(plan.sizes.events)
    is_with, rates = rates_of(batches, kept_s(stack))
    pairs = neighbours(is_with, rates)
    if not pairs:
        raise ChildError(f"invalid run: batches with challengers: {is_with}")
    return {**ratios(pairs), "unit": "events/s", "events_per_batch": plan.per_batch}


def _latency(stack: Stack, job: RunningJob, arms: Arms, plan: ShadowPlan, live_s: int) -> dict[str, Any]:
    orders = Orders(
        bootstrap=stack.bootstrap,
        topic="hours",
        regions=REGIONS,
        rate_per_s=plan.rate_per_s,
        seconds=plan.block_s * (1 + len(plan.order)),  # the first block is warm-up
        per_hour=round(plan.rate_per_s * plan.hour_s),
        first_s=live_s,
        begin_s=time.time() + _WAIT_S,
        log=str(stack.folder / "leaps.f64"),
    )
    arms.point(is_tried=False)
    _send(stack, orders, arms, plan)
    batches = job.wait_until_consumed(plan.sizes.events + round(plan.rate_per_s * orders.seconds))
    begin_s = orders.begin_s + plan.block_s
    if wrong := wrong_blocks(kept_s(stack), begin_s, plan, regions=REGIONS):
        raise ChildError(
            f"invalid run: challengers were scored where none was tried, or seldom where they were: {wrong}"
        )
    intended_s, latency_s = timed(sent_so_far(Path(orders.log)), batches)
    medians = block_medians_ms(intended_s, latency_s, begin_s, plan)
    facts = {"unit": "ms", "rate_per_s": plan.rate_per_s, "seconds_of_an_hour": plan.hour_s}
    return {**ratios(neighbours(plan.order, medians)), **facts}


def _send(stack: Stack, orders: Orders, arms: Arms, plan: ShadowPlan) -> None:
    """Send all, and point the job at challengers or at none when their block begins."""
    folder = stack.folder / "leaps"
    with child("benchmarks.shadow_traffic", msgspec.to_builtins(orders), folder, python=sys.executable) as process:
        for number, is_tried in enumerate(plan.order, start=1):
            begins_s = orders.begin_s + number * plan.block_s
            wait_for(process, folder, done=lambda at_s=begins_s: time.time() >= at_s, limit_s=_LIMIT_S)  # type: ignore[misc]
            arms.point(is_tried=is_tried)
        wait_for(process, folder, done=lambda: process.poll() == 0, limit_s=_LIMIT_S)


def _full(job: RunningJob) -> int:
    return sum(ledger([batch])["consumed"] > 0 for batch in job.batches())


def kept_s(stack: Stack) -> list[float]:
    """When the challengers' forecasts were written, epoch seconds."""
    folder = stack.folder / "shadow-checkpoint" / "shadow" / "forecasts"
    return sorted(path.stat().st_mtime for path in folder.glob("*/*.npz"))

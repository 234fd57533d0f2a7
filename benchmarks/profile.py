"""Where a batch's time goes: our own functions on one batch in this process, and Spark's report on real batches."""

import time
from statistics import median
from typing import Any

import msgspec
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.bench import load_events
from benchmarks.full_frame import ScoredRegion, Stopwatch, decoded, messages_of
from benchmarks.plan import Sizes, bench_specs
from benchmarks.product import ledger, rate_of_batches, running_job
from benchmarks.report import table_of
from benchmarks.stack import Stack, running_stack
from models.counting.blobs import Journal
from schemas.incidents import Incidents
from streaming.sinks.influx import InfluxSink

REGIONS = 4
_STAGE_EVENTS = 50_000
_STAGE_BATCHES = 4
_DURATIONS = {
    "offsets": "latestOffset",
    "plan": "queryPlanning",
    "log": "walCommit",
    "add": "addBatch",
    "commit": "commitOffsets",
    "all": "triggerExecution",
}
_STATE_TIMES = {"update": "allUpdatesTimeMs", "store": "commitTimeMs"}


def profile(plan: Sizes, console: Console) -> None:
    """Print both tables."""
    with running_stack(plan) as stack:
        console.print(_stages_table(_stages(stack)))
        loaded = load_events(stack, REGIONS, console.print)
        specs = bench_specs(REGIONS)
        with running_job(stack, "profile", topic=loaded.topic, specs=specs, progress=True) as job:
            batches = job.wait_until_consumed(plan.events)
            while (
                len(job.batches()) < len(batches) + 2 and job.process.poll() is None
            ):  # the last report comes a batch later
                time.sleep(0.1)
            job.stop()
            reports = _reports((job.folder / "progress.jsonl").read_bytes())
    console.print(_spark_table(reports, {batch.batch_id: batch.acknowledged_s - batch.started_s for batch in batches}))
    rate = rate_of_batches(batches)
    console.print(f"{ledger(batches)['counted']:,} events, {rate.steady_eps:,.0f} events/s after the first batch")


def _stages(stack: Stack) -> list[dict[str, float]]:
    """Milliseconds by stage of each batch of one region, all functions called one after the other on one core."""
    torch.set_num_threads(1)
    spec = bench_specs(1)[0]
    region = ScoredRegion.of(next((stack.artifacts([spec]) / spec.region).iterdir()))
    journal, _ = Journal.start(region.state)
    sink = InfluxSink(stack.settings(topic="none", specs=[spec], checkpoint="none"))
    runs = []
    for number in range(_STAGE_BATCHES):
        now_s, watch = int(time.time()), Stopwatch()
        messages = messages_of(spec, _STAGE_EVENTS, seed=900 + number, as_of_s=now_s)
        with watch.part("decode"):
            incidents = decoded(messages, spec)
        with watch.part("pack"):
            packed = incidents.pack()
        with watch.part("unpack"):
            incidents = Incidents.concatenate([Incidents.unpack(packed)])
        with watch.part("count"):
            applied = region.state.apply(incidents, now_s)
        with watch.part("journal"):
            journal.record(applied.changed)
        lines = region.lines(watch)
        with watch.part("write"):
            sink.write(lines)
        runs.append(watch.ms)
    sink.close()
    return runs[1:]


def _reports(lines: bytes) -> dict[int, dict[str, Any]]:
    """Spark's progress reports of batches that read events, by batch."""
    reports = [msgspec.json.decode(line) for line in lines.splitlines()]
    return {report["batchId"]: report for report in reports if report["numInputRows"] > 1}  # 1: the heartbeat alone


def _stages_table(runs: list[dict[str, float]]) -> Table:
    title = f"one region, {_STAGE_EVENTS:,} events, one core: median of {len(runs)} batches"
    table = table_of(title, ("stage", "ms", "us per event"))
    for stage in runs[0]:
        ms = median(run[stage] for run in runs)
        table.add_row(stage, f"{ms:.1f}", f"{ms * 1000 / _STAGE_EVENTS:.2f}")
    total = sum(median(run[stage] for run in runs) for stage in runs[0])
    table.add_row("all", f"{total:.1f}", f"{total * 1000 / _STAGE_EVENTS:.2f}", style="bold")
    return table


def _spark_table(reports: dict[int, dict[str, Any]], publish_s: dict[int, float]) -> Table:
    """Milliseconds of each batch, in Spark's order: ask Kafka, plan, log, run, commit."""
    title = "Spark's batches, ms (publish lies in add; update and store in publish, summed over tasks)"
    table = table_of(title, ("batch", "events", *_DURATIONS, "publish", *_STATE_TIMES))
    for batch_id, report in sorted(reports.items()):
        durations, states = report["durationMs"], report["stateOperators"]
        table.add_row(
            str(batch_id),
            f"{report['numInputRows'] - 1:,}",
            *(f"{durations.get(name, 0):,}" for name in _DURATIONS.values()),
            f"{publish_s.get(batch_id, 0) * 1000:,.0f}",
            *(f"{sum(state[name] for state in states):,}" for name in _STATE_TIMES.values()),
        )
    return table

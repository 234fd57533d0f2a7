"""`python -m benchmarks.soak` runs the job for half an hour and says whether anything in it grows.

Counts are remembered for days, so a job is only in balance once as much time has passed. Simulated time is fast enough
for that: incidents are forgotten after a minute (48 h), hours after seven and a half (15 days).
"""

import csv
import math
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import psutil
import typer
from rich.console import Console

from benchmarks.child import ROOT, ChildError, child, wait_for
from benchmarks.machine import describe_machine, describe_versions, now
from benchmarks.plan import CATEGORIES, FULL, bench_spec
from benchmarks.product import RunningJob, ledger, running_job
from benchmarks.sent_log import count_sent
from benchmarks.soak_figures import BOUNDS, judge, ledger_faults
from benchmarks.soak_plot import write_plot
from benchmarks.soak_report import soak_page
from benchmarks.soak_sampler import of_batches, of_disk, of_heap, of_processes
from benchmarks.soak_traffic import SIDE, Orders, Region, expected_ledger
from benchmarks.stack import Stack, running_stack
from models.untrained import write_untrained
from schemas.errors import RiskError
from schemas.spec import DAY_S

OUT = ROOT / "out" / "soak"
DOCS = ROOT / "docs"
SPEED = 2880  # simulated seconds in a real one
EVERY_S = 5.0
_AHEAD_S = 10.0  # an artifact is there so long before its region's first event
_VERSIONS = 30  # newer versions of artifacts that come during a run
_COLLECTIONS = 15
_BYTES_PER_COUNT = 16  # of a stored count that is not zero, see models/pyramid.py


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One run, in real seconds since its start."""

    seconds: float
    rate_per_s: float

    @property
    def regions(self) -> list[Region]:
        """Two from the start, three more in the first quarter, one of them falls silent before the half."""
        end = self.seconds
        starts = {"one": 0.0, "two": 0.0, "three": end / 12, "four": end / 6, "five": end / 4}
        ends = {"three": end * 0.4}
        return [Region(name=name, from_s=at, to_s=ends.get(name, end)) for name, at in starts.items()]

    @property
    def changes_s(self) -> list[float]:
        """When a region joins or falls silent."""
        times = {at_s for region in self.regions for at_s in (region.from_s, region.to_s)}
        return sorted(times - {0.0, self.seconds})

    @property
    def simulated_days(self) -> int:
        return math.ceil(self.seconds * SPEED / DAY_S)


def run_soak(scenario: Scenario, say: Callable[[str], None]) -> dict[str, Any]:
    """Everything that a run found, and its samples in out/soak/samples.csv."""
    results: dict[str, Any] = {"date": now(), "machine": describe_machine(), "versions": describe_versions()}
    begin_s = int(time.time()) // DAY_S * DAY_S - scenario.simulated_days * DAY_S
    say("starting Kafka and victoria-metrics")
    with running_stack(FULL) as stack:
        topic = stack.topic("incidents")
        first = [bench_spec(region.name, SIDE) for region in scenario.regions if region.from_s == 0]
        local = stack.folder / "spark"
        local.mkdir()
        artifacts = stack.folder / "soak-artifacts"
        for spec in first:
            _artifact(artifacts, spec.region, begin_s, 0)
        with running_job(
            stack,
            "soak",
            topic=topic,
            specs=first,
            clock="event",
            artifacts=artifacts,
            collect_every_s=scenario.seconds / _COLLECTIONS,
            environment={"SPARK_LOCAL_DIRS": str(local)},
        ) as job:
            say("starting the job")
            job.wait_until_ready()
            say(f"sending {scenario.rate_per_s:.0f} events/s for {scenario.seconds / 60:g} minutes")
            rows, sent = _send_and_sample(stack, scenario, job, artifacts, begin_s, say)
            results["last_event_s"] = _finish(job, sum(sent.values()))
            batches = job.batches()
            job.stop()
    total = {name: count for name, count in ledger(batches).items() if count}
    return results | {
        "rows": rows,
        "sent": sent,
        "ledger": total,
        "expected": expected_ledger(sent),
        "batches": len(batches),
        "points": sum(batch.points for batch in batches),
        "scenario": scenario,
        "speed": SPEED,
        "cells": SIDE * SIDE,
        "versions_sent": _VERSIONS,
        "collect_every_s": scenario.seconds / _COLLECTIONS,
        "day_bytes": SIDE * SIDE * len(CATEGORIES) * _BYTES_PER_COUNT,
    }


def _send_and_sample(
    stack: Stack, scenario: Scenario, job: RunningJob, artifacts: Path, begin_s: int, say: Callable[[str], None]
) -> tuple[list[dict[str, float]], dict[str, int]]:
    folder = stack.folder / "traffic"
    log, kinds = folder / "sent.f64", folder / "kinds.json"
    orders = Orders(
        bootstrap=stack.bootstrap,
        topic="incidents",
        regions=scenario.regions,
        rate_per_s=scenario.rate_per_s,
        seconds=scenario.seconds,
        speed=SPEED,
        simulated_begin_s=begin_s,
        seed=1,
        log=str(log),
        kinds=str(kinds),
    )
    coming = [(region.from_s - _AHEAD_S, region.name) for region in scenario.regions if region.from_s]
    coming += [((k + 0.5) * scenario.seconds / _VERSIONS, ("one", "two")[k % 2]) for k in range(_VERSIONS)]
    coming.sort(reverse=True)
    driver = psutil.Process(job.process.pid)
    rows: list[dict[str, float]] = []
    with child("benchmarks.soak_traffic", msgspec.to_builtins(orders), folder, python=sys.executable) as traffic:
        wait_for(traffic, folder, done=lambda: count_sent(log) > 0, limit_s=60)
        start_s = before_s = time.time()
        while not kinds.exists():
            _wait_until(before_s + EVERY_S, traffic, folder, kinds)
            if job.process.poll() is not None:
                job.wait_until_ready()  # says what its log says
                raise ChildError(f"the job ended with code {job.process.returncode} by itself")
            at_s = time.time()
            while coming and coming[-1][0] <= at_s - start_s:
                _artifact(artifacts, coming.pop()[1], begin_s, len(coming))
            rows.append(
                {"t_s": round(at_s - start_s, 1)}
                | of_batches(job.batches(), count_sent(log), since_s=before_s)
                | of_processes(driver)
                | of_disk(stack.folder / "soak-checkpoint", stack.folder / "spark")
                | of_heap(job.folder / "heap.jsonl", since_s=before_s)
            )
            before_s = at_s
            if len(rows) % 12 == 0:
                say(_line(rows[-1]))
        return rows, msgspec.json.decode(kinds.read_bytes(), type=dict[str, int])


def _wait_until(at_s: float, traffic: subprocess.Popen[bytes], folder: Path, kinds: Path) -> None:
    """Return at that time, or when the sender is done. Raises ChildError when it fails."""
    wait_for(traffic, folder, done=lambda: kinds.exists() or time.time() >= at_s, limit_s=60)


def _line(row: dict[str, float]) -> str:
    return (
        f"minute {row['t_s'] / 60:.0f}: {row['consumed']:,.0f} of {row['sent']:,.0f} counted, driver "
        f"{row['driver_mib']:.0f}, workers {row['workers_mib']:.0f}, JVM {row['jvm_mib']:.0f} MiB, state "
        f"{row['state_mib']:.1f} MiB, batch {row['batch_s']:.2f} s"
    )


def _finish(job: RunningJob, events: int) -> float:
    """Seconds until the job has consumed what is left."""
    start_s = time.time()
    wait_for(job.process, job.folder, done=lambda: ledger(job.batches())["consumed"] >= events, limit_s=120)
    return time.time() - start_s


def _artifact(artifacts: Path, region: str, begin_s: int, number: int) -> None:
    """The region's next version; all start from an empty history that ends where the simulated time begins."""
    created = datetime.fromtimestamp(int(time.time()), UTC).strftime("%Y%m%dT%H%M%SZ")
    write_untrained(artifacts, bench_spec(region, SIDE), per_day=200.0 + number, cutoff_s=begin_s, created=created)


def write_samples(rows: list[dict[str, float]], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: f"{value:.10g}" for name, value in row.items()} for row in rows)


def soak(
    minutes: Annotated[float, typer.Option(min=1)] = 30.0,
    rate: Annotated[float, typer.Option(min=10, help="Events per second")] = 2000.0,
    docs: Annotated[bool, typer.Option(help="Also write docs/soak.md and docs/soak.png")] = True,
) -> None:
    """Exit code 1 when something grows faster than its bound, or the ledger is not what was sent."""
    console = Console()
    start_s = time.monotonic()

    def say(what: str) -> None:
        console.print(f"[dim]{time.monotonic() - start_s:5.0f} s  {what}[/dim]", highlight=False, soft_wrap=True)

    results = run_soak(Scenario(seconds=minutes * 60, rate_per_s=rate), say)
    write_samples(results["rows"], OUT / "samples.csv")
    samples = {name: np.array([row[name] for row in results["rows"]]) for name in results["rows"][0]}
    verdicts = judge(samples, BOUNDS, from_s=minutes * 30)
    faults = ledger_faults(results["ledger"], results["expected"])
    write_plot(samples, verdicts, OUT / "soak.png", from_s=minutes * 30, changes_s=results["scenario"].changes_s)
    page = soak_page(results, samples, verdicts, faults)
    (OUT / "soak.md").write_text(page, encoding="utf-8")
    if docs:
        for name in ("soak.png", "soak.md"):
            shutil.copy(OUT / name, DOCS / name)
    console.print(page, markup=False, highlight=False, soft_wrap=True)
    if faults or not all(verdict.is_within for verdict in verdicts):
        raise typer.Exit(1)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that broker and store are ended
    try:
        typer.run(soak)
    except (RiskError, ChildError) as error:
        Console(stderr=True).print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)

"""One soak: the job, what is sent to it in simulated time, and a sample every few seconds."""

import math
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import psutil

from benchmarks.child import ChildError, child, wait_for
from benchmarks.machine import describe_machine, describe_versions, made_at
from benchmarks.plan import CATEGORIES, FULL, bench_spec
from benchmarks.product import RunningJob, ledger, running_job
from benchmarks.sent_log import count_sent
from benchmarks.soak_sampler import of_batches, of_disk, of_heap, of_processes
from benchmarks.soak_traffic import SIDE, Orders, Region, expected_ledger
from benchmarks.stack import Stack, running_stack
from models.artifact.untrained import write_untrained
from schemas.spec import DAY_S

SPEED = 2880  # simulated seconds in a real one
EVERY_S = 5.0
TRIGGER_S = 1.0  # as long as a batch takes less, other work on the machine does not change how many there are
_AHEAD_S = 10.0  # an artifact is there so long before its region's first event
_VERSIONS = 30  # newer versions of artifacts that come during a run
_COLLECTIONS = 30
_BYTES_PER_COUNT = 16  # of a stored count that is not zero, see models/counting/pyramid.py


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
    """Everything that a run found; `rows` are its samples."""
    results: dict[str, Any] = {**made_at(), "machine": describe_machine(), "versions": describe_versions()}
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
            trigger_s=TRIGGER_S,
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

"""The one driver of load: the job under traffic at a rate for some minutes, killed in between if that is asked for."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import psutil

from benchmarks.child import ChildError, child, wait_for
from benchmarks.growth import BOUNDS, judge, ledger_faults
from benchmarks.job import TimedBatch
from benchmarks.outage import newest_of_each, outage_of, phase, timed
from benchmarks.plan import bench_specs
from benchmarks.product import RunningJob, ledger, running_job
from benchmarks.samples import of_batches, of_disk, of_heap, of_processes
from benchmarks.stack import Stack
from benchmarks.traffic import TrafficOrders, count_sent, expected_ledger, sent_so_far
from models.artifact.untrained import write_untrained
from schemas.instants import stamp
from schemas.spec import DAY_S

REGIONS = 2
EVERY_S = 5.0  # between two samples
LEAST_ROWS = 24  # two minutes of samples: a line through fewer says nothing
LEAST_MINUTES = 30  # in a shorter run state still fills up, so its slopes say little
_TRIGGER_S = 1.0  # of fast time: as long as a batch takes less, other work on the machine does not change their number
_VERSIONS = 30  # newer versions of artifacts that come during a run
_COLLECTIONS = 30
_LIMIT_S = 600.0
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """How much is sent, for how long, and for how long of it the scorer is away."""

    rate_per_s: float
    minutes: float
    kill_minutes: float = 0.0  # in the middle; 0: it is not killed
    speed: float = 1.0  # simulated seconds in a second; with 2,880 counts of 15 days are in balance after 7.5 minutes
    warm_up_s: float = 30.0  # not reported

    @property
    def is_fast(self) -> bool:
        return self.speed > 1

    @property
    def begin_s(self) -> int:
        """Where the simulated time begins: it ends before now."""
        now_s = int(time.time())
        return now_s if not self.is_fast else now_s // DAY_S * DAY_S - int(self.minutes * 60 * self.speed)


@dataclass(slots=True, kw_only=True)
class Traffic:
    """The sending process and what it writes."""

    process: Popen[bytes]
    folder: Path
    log: Path
    kinds: Path

    def is_done(self) -> bool:
        return self.kinds.exists()

    def wait(self, limit_s: float) -> None:
        """Return once all is sent. Raises ChildError when the sender fails or takes longer."""
        wait_for(self.process, self.folder, done=self.is_done, limit_s=limit_s)

    def sent(self) -> dict[str, int]:
        """Messages by kind, once all are sent."""
        return msgspec.json.decode(self.kinds.read_bytes(), type=dict[str, int])


@contextmanager
def running_traffic(stack: Stack, topic: str, plan: LoadPlan, *, begin_s: int, is_mixed: bool) -> Iterator[Traffic]:
    """Begins to send to the topic in an open loop."""
    folder = stack.folder / f"{topic}-traffic"
    log, kinds = folder / "sent.f64", folder / "kinds.json"
    orders = TrafficOrders(
        bootstrap=stack.bootstrap,
        topic=topic,
        regions=REGIONS,
        rate_per_s=plan.rate_per_s,
        seconds=plan.minutes * 60,
        is_mixed=is_mixed,
        speed=plan.speed,
        simulated_begin_s=begin_s,
        seed=1,
        log=str(log),
        kinds=str(kinds),
    )
    with child("benchmarks.traffic", msgspec.to_builtins(orders), folder, python=sys.executable) as process:
        wait_for(process, folder, done=lambda: count_sent(log) > 0, limit_s=60)
        yield Traffic(process=process, folder=folder, log=log, kinds=kinds)


@dataclass(slots=True)
class Run:
    """The job, started again after a kill, and what was seen of it."""

    stack: Stack
    plan: LoadPlan
    begin_s: int
    jobs: list[RunningJob] = field(default_factory=list)
    rows: list[dict[str, float]] = field(default_factory=list)
    killed_s: float = 0.0
    started_again_s: float = 0.0

    def batches(self) -> list[TimedBatch]:
        return newest_of_each([batch for job in self.jobs for batch in job.batches()])

    def start(self, at_the_end: ExitStack) -> None:
        options: dict[str, Any] = {"artifacts": self.stack.folder / "load-artifacts"}
        if self.plan.is_fast:
            options |= {"clock": "event", "trigger_s": _TRIGGER_S}
        local = self.stack.folder / "spark"
        local.mkdir(exist_ok=True)
        job = running_job(
            self.stack,
            f"load-{len(self.jobs)}",
            topic="load",
            specs=bench_specs(REGIONS),
            checkpoint="load-checkpoint",
            collect_every_s=self.plan.minutes * 60 / _COLLECTIONS if self.plan.is_fast else None,
            environment={"SPARK_LOCAL_DIRS": str(local)},
            **options,
        )
        self.jobs.append(at_the_end.enter_context(job))

    def artifact(self, number: int) -> None:
        """The next version for one region; all start from an empty history that ends where simulated time begins."""
        created = stamp(time.time())
        spec, cutoff_s = bench_specs(REGIONS)[number % REGIONS], self.begin_s // DAY_S * DAY_S
        folder = self.stack.folder / "load-artifacts"
        write_untrained(folder, spec, per_day=200.0 + number, cutoff_s=cutoff_s, created=created)

    def kill(self) -> None:
        """SIGKILL, to Java and Python's workers as well."""
        os.killpg(self.jobs[-1].process.pid, signal.SIGKILL)
        self.jobs[-1].process.wait()
        self.killed_s = time.time()

    def sample(self, sent: int, *, since_s: float) -> None:
        job = self.jobs[-1]
        self.rows.append(
            {"t_s": round(time.time(), 1)}
            | of_batches(self.batches(), sent, since_s=since_s)
            | of_processes(psutil.Process(job.process.pid))
            | of_disk(self.stack.folder / "load-checkpoint", self.stack.folder / "spark")
            | of_heap(job.folder / "heap.jsonl", since_s=since_s)
        )


def run_load(stack: Stack, plan: LoadPlan, say: Say) -> dict[str, Any]:
    """All that a run shows. Raises ChildError when the job or the sender ends by itself."""
    stack.topic("load")
    run = Run(stack, plan, plan.begin_s)
    with ExitStack() as at_the_end:
        for number in range(REGIONS):
            run.artifact(number)
        run.start(at_the_end)
        run.jobs[0].wait_until_ready()
        say(f"sending {plan.rate_per_s:,.0f} events/s for {plan.minutes:g} minutes")
        begin_s = run.begin_s if plan.is_fast else int(time.time())
        sender = at_the_end.enter_context(running_traffic(stack, "load", plan, begin_s=begin_s, is_mixed=True))
        _watch(run, sender, at_the_end, say)
        sent = sender.sent()
        last, all_sent = run.jobs[-1], sum(sent.values())
        wait_for(
            last.process, last.folder, done=lambda: ledger(run.batches())["consumed"] >= all_sent, limit_s=_LIMIT_S
        )
        rows = sent_so_far(sender.log)
        last.stop()
    return _figures(run, rows, sent)


def _watch(run: Run, sender: Traffic, at_the_end: ExitStack, say: Say) -> None:
    """Samples, newer artifacts, the kill and the new start, until all is sent."""
    plan, start_s, versions = run.plan, time.time(), REGIONS
    kill_s = start_s + (plan.minutes - plan.kill_minutes) * 30
    is_killed = is_back = not plan.kill_minutes
    since_s = start_s
    while not sender.is_done():
        until_s = since_s + EVERY_S
        wait_for(
            sender.process,
            sender.folder,
            done=lambda until_s=until_s: sender.is_done() or time.time() >= until_s,  # type: ignore[misc]
            limit_s=60,
        )
        since_s = time.time()
        if not is_killed and since_s >= kill_s:
            run.kill()
            is_killed = True
            say(f"the scorer was killed, and starts again in {plan.kill_minutes:g} minutes")
        if is_killed and not is_back and since_s >= run.killed_s + plan.kill_minutes * 60:
            run.started_again_s = time.time()
            run.start(at_the_end)
            is_back = True
        if is_killed == is_back:
            if run.jobs[-1].process.poll() is not None:
                raise ChildError(f"the job ended with code {run.jobs[-1].process.returncode} by itself")
            run.sample(count_sent(sender.log), since_s=until_s - EVERY_S)
        if plan.is_fast and since_s >= start_s + versions * plan.minutes * 60 / _VERSIONS:
            run.artifact(versions)
            versions += 1


def _figures(run: Run, rows: npt.NDArray[np.float64], sent: dict[str, int]) -> dict[str, Any]:
    plan, batches = run.plan, run.batches()
    intended_s, latency_s = timed(rows, batches)
    begin_s, end_s = float(intended_s[0]) + plan.warm_up_s, float(intended_s[-1])
    total = {name: count for name, count in ledger(batches).items() if count}
    late_ms = 1000 * float(np.percentile(rows[:, 3] - rows[:, 2], 99))
    figures: dict[str, Any] = {
        "sent": sent,
        "ledger": total,
        "faults": ledger_faults(total, expected_ledger(sent)),
        "sender_late_p99_ms": round(late_ms, 1),
        "phases": {"load": phase(intended_s, latency_s, begin_s, run.killed_s or end_s)},
        "rows": run.rows,
    }
    if run.killed_s:
        after = run.jobs[-1].batches()
        outage = outage_of(intended_s, latency_s, after, killed_s=run.killed_s, start_s=run.started_again_s)
        caught_up_s = run.started_again_s + outage["caught_up_s"]
        figures["outage"] = outage
        if caught_up_s < end_s:  # else it had not before the sender's end
            figures["phases"]["after it had caught up"] = phase(intended_s, latency_s, caught_up_s, end_s)
    if plan.is_fast and len(run.rows) > LEAST_ROWS:
        samples = {name: np.array([row[name] for row in run.rows]) for name in run.rows[0]}
        samples["t_s"] = samples["t_s"] - samples["t_s"][0]
        figures["growth"] = judge(samples, BOUNDS, from_s=plan.minutes * 30)
    return figures

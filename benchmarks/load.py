"""The job under traffic at a rate for some minutes, killed in between if that is asked for; `make load`.

What it shows: latencies, what an outage cost, an exact ledger, and in fast time what grows.
"""

import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import psutil
from rich.table import Table

from benchmarks.measured_job import Heap, TimedBatch, ledger
from benchmarks.stack import ChildError, RunningJob, Say, Stack, child, running_job, table_of, wait_for
from benchmarks.traffic import TrafficOrders, bench_specs, count_sent, expected_ledger, sent_so_far
from models.artifact import write_untrained
from schemas.files import stamp
from schemas.spec import DAY_S

Values = npt.NDArray[np.float64]
Samples = Mapping[str, Values]  # by name, one value per sample; NaN where it was not measured

REGIONS = 2
EVERY_S = 5.0  # between two samples
LEAST_ROWS = 24  # two minutes of samples: a line through fewer says nothing
LEAST_MINUTES = 30  # in a shorter run state still fills up, so its slopes say little
NORMAL_FACTOR = 1.5  # the job has caught up when no event has waited for longer than this times the p99 before
MIB = 2.0**20
_UNDER_WAY_S = 5.0  # what was sent so shortly before the kill may have waited for the restart
_CLEANED_S = 120  # Spark cleans up at least once in it
_TRIGGER_S = 1.0  # of fast time: as long as a batch takes less, other work on the machine does not change their number
_VERSIONS = 30  # newer versions of artifacts that come during a run
_COLLECTIONS = 30
_LIMIT_S = 600.0


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
    begin_s: int  # where the simulated time begins: it ends before now
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

    def watch(self, sender: Traffic, at_the_end: ExitStack, say: Say) -> None:
        """Samples, newer artifacts, the kill and the new start, until all is sent."""
        plan, start_s, versions = self.plan, time.time(), REGIONS
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
            if not is_killed and since_s >= kill_s:  # with Java and Python's workers
                os.killpg(self.jobs[-1].process.pid, signal.SIGKILL)
                self.jobs[-1].process.wait()
                self.killed_s, is_killed = time.time(), True
                say(f"the scorer was killed, and starts again in {plan.kill_minutes:g} minutes")
            if is_killed and not is_back and since_s >= self.killed_s + plan.kill_minutes * 60:
                self.started_again_s, is_back = time.time(), True
                self.start(at_the_end)
            if is_killed == is_back:
                if self.jobs[-1].process.poll() is not None:
                    raise ChildError(f"the job ended with code {self.jobs[-1].process.returncode} by itself")
                self.rows.append(self.sample(count_sent(sender.log), since_s=until_s - EVERY_S))
            if plan.is_fast and since_s >= start_s + versions * plan.minutes * 60 / _VERSIONS:
                self.artifact(versions)
                versions += 1

    def sample(self, sent: int, *, since_s: float) -> dict[str, float]:
        """Memory, open files, threads and disk of the job, what its batches say, and its heap if it was collected."""
        job, batches, nan = self.jobs[-1], self.batches(), float("nan")
        new = [batch for batch in batches if batch.acknowledged_s > since_s]
        spark, local = self.stack.folder / "load-checkpoint" / "spark", self.stack.folder / "spark"
        (files, size), (_, state_size), (_, local_size) = map(_files, (spark, spark / "state", local))
        heaps = job.folder / "heap.jsonl"
        lines = heaps.read_bytes().splitlines() if heaps.exists() else []
        heap = msgspec.json.decode(lines[-1], type=Heap) if lines else None
        is_new = heap is not None and heap.at_s > since_s
        return {
            "t_s": round(time.time(), 1),
            "batch_s": sum(b.acknowledged_s - b.started_s for b in new) / len(new) if new else nan,
            "lag_events": sent - ledger(batches)["consumed"],  # what is not in the ledger
            **of_processes(psutil.Process(job.process.pid)),
            "checkpoint_files": files,
            "checkpoint_mib": size / MIB,
            "state_mib": state_size / MIB,
            "local_mib": local_size / MIB,
            "heap_mib": heap.live_bytes / MIB if heap and is_new else nan,
            "outside_mib": heap.outside_bytes / MIB if heap and is_new else nan,
        }


def run_load(stack: Stack, plan: LoadPlan, say: Say) -> dict[str, Any]:
    """All that a run shows. Raises ChildError when the job or the sender ends by itself."""
    stack.topic("load")
    now_s = int(time.time())
    run = Run(stack, plan, now_s // DAY_S * DAY_S - int(plan.minutes * 60 * plan.speed) if plan.is_fast else now_s)
    with ExitStack() as at_the_end:
        for number in range(REGIONS):
            run.artifact(number)
        run.start(at_the_end)
        run.jobs[0].wait_until_ready()
        say(f"sending {plan.rate_per_s:,.0f} events/s for {plan.minutes:g} minutes")
        begin_s = run.begin_s if plan.is_fast else int(time.time())
        sender = at_the_end.enter_context(running_traffic(stack, "load", plan, begin_s=begin_s, is_mixed=True))
        run.watch(sender, at_the_end, say)
        sent = msgspec.json.decode(sender.kinds.read_bytes(), type=dict[str, int])  # by kind
        last, all_sent = run.jobs[-1], sum(sent.values())
        wait_for(
            last.process, last.folder, done=lambda: ledger(run.batches())["consumed"] >= all_sent, limit_s=_LIMIT_S
        )
        rows = sent_so_far(sender.log)
        last.stop()
    batches = run.batches()
    intended_s, latency_s = timed(rows, batches)
    from_s, end_s = float(intended_s[0]) + plan.warm_up_s, float(intended_s[-1])
    total = {name: count for name, count in ledger(batches).items() if count}
    late_ms = 1000 * float(np.percentile(rows[:, 3] - rows[:, 2], 99))
    figures: dict[str, Any] = {
        "sent": sent,
        "ledger": total,
        "faults": ledger_faults(total, expected_ledger(sent)),
        "sender_late_p99_ms": round(late_ms, 1),
        "phases": {"load": phase(intended_s, latency_s, from_s, run.killed_s or end_s)},
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


def of_processes(driver: psutil.Process) -> dict[str, float]:
    """Memory in MiB, pages that several processes share divided among them; open files and threads."""
    memory = {"driver": 0.0, "workers": 0.0, "jvm": 0.0, "beyond_heap": 0.0}
    files = threads = 0
    for process in (driver, *driver.children(recursive=True)):
        with suppress(psutil.NoSuchProcess, FileNotFoundError):
            kind = "driver" if process.pid == driver.pid else "jvm" if process.name() == "java" else "workers"
            memory[kind] += process.memory_full_info().pss / MIB
            if kind == "jvm":
                memory["beyond_heap"] += beyond_heap_bytes(Path(f"/proc/{process.pid}/smaps").read_text()) / MIB
            if kind != "workers":
                files += process.num_fds()
                threads += process.num_threads()
    return {**{f"{kind}_mib": value for kind, value in memory.items()}, "files": files, "threads": threads}


def beyond_heap_bytes(smaps: str) -> int:
    """Proportional memory of a JVM without its heap, from Linux's list of its mappings.

    A heap of up to 2 GiB lies below the address 4 GiB, and nothing else does, as long as the JVM finds room there.
    """
    size, is_beyond = 0, False
    for line in smaps.splitlines():
        name, _, rest = line.partition(" ")
        if name == "Pss:":
            size += int(rest.split()[0]) * 1024 * is_beyond
        elif "-" in name:
            is_beyond = int(name.partition("-")[0], 16) >= 4 << 30
    return size


def _files(folder: Path) -> tuple[int, int]:
    """Number and bytes of the files below; one that goes while we look does not count."""
    count = size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(FileNotFoundError):
                size += os.stat(os.path.join(parent, name)).st_size
                count += 1
    return count, size


# Latencies, and what an outage cost


def latencies(
    sent: Values,
    acknowledged_s: Values,
    end_offsets: Sequence[Mapping[int, int]],
) -> Values:
    """(events,) seconds from the intended time to the acknowledgement of the batch that held the event.

    sent: (events, 3 or more) partition, offset, intended epoch seconds. acknowledged_s and end_offsets, by partition:
    one per batch, in order. An event is in the first batch whose end offset in its partition exceeds its own offset.
    Raises IndexError when no batch held an event.
    """
    latency_s = np.empty(len(sent))
    for partition in np.unique(sent[:, 0]):
        ends = np.array([ends.get(int(partition), 0) for ends in end_offsets])
        here = sent[:, 0] == partition
        batch = np.searchsorted(ends, sent[here, 1], side="right")
        latency_s[here] = acknowledged_s[batch] - sent[here, 2]
    return latency_s


def newest_of_each(batches: Sequence[TimedBatch]) -> list[TimedBatch]:
    """Each batch once, in order: what was repeated after a kill is what was acknowledged last."""
    newest = {batch.batch_id: batch for batch in batches}
    return [newest[number] for number in sorted(newest)]


def timed(sent: Values, batches: Sequence[TimedBatch]) -> tuple[Values, Values]:
    """Intended time and latency in seconds of the events that the batches held, in the order of the intended times.

    sent: rows of `sending.send_open_loop`.
    """
    ordered = newest_of_each(batches)
    ends = [batch.end_offsets for batch in ordered]
    held = np.zeros(len(sent), bool)
    for partition, end in (ends[-1] if ends else {}).items():
        held |= (sent[:, 0] == partition) & (sent[:, 1] < end)
    rows = sent[held]
    rows = rows[np.argsort(rows[:, 2], kind="stable")]
    return rows[:, 2], latencies(rows, np.array([batch.acknowledged_s for batch in ordered]), ends)


def percentiles_ms(latency_s: Values) -> dict[str, float]:
    p50, p95, p99 = (round(float(value) * 1000, 1) for value in np.percentile(latency_s, (50, 95, 99)))
    return {"p50": p50, "p95": p95, "p99": p99, "max": round(float(latency_s.max()) * 1000, 1)}


def backlog_at(intended_s: Values, acknowledged_s: Values, at_s: float) -> int:
    """Events that were meant to be sent by then and whose scores were not acknowledged by then."""
    return int(np.count_nonzero(intended_s <= at_s) - np.count_nonzero(acknowledged_s <= at_s))


def caught_up_at(
    intended_s: Values, acknowledged_s: Values, batches: Sequence[TimedBatch], *, limit_s: float
) -> float | None:
    """When the first batch was acknowledged that left no event waiting for longer than `limit_s`; None without one."""
    for batch in batches:
        at_s = batch.acknowledged_s
        waiting = intended_s[(intended_s <= at_s) & (acknowledged_s > at_s)]
        if not len(waiting) or at_s - waiting[0] <= limit_s:
            return at_s
    return None


def phase(intended_s: Values, latency_s: Values, from_s: float, to_s: float) -> dict[str, float]:
    """Figures of the events that were meant to be sent in [from_s, to_s). Raises ValueError when there is none."""
    inside = (intended_s >= from_s) & (intended_s < to_s)
    if not inside.any():
        raise ValueError(f"no event was acknowledged of the {to_s - from_s:.0f} s that were asked for")
    return {"events": int(inside.sum()), "seconds": round(to_s - from_s, 1), **percentiles_ms(latency_s[inside])}


def outage_of(
    intended_s: Values, latency_s: Values, after: Sequence[TimedBatch], *, killed_s: float, start_s: float
) -> dict[str, float]:
    """What it cost that the job was killed at `killed_s` and started again at `start_s`, epoch seconds.

    after: batches since then. Raises ValueError when the job never caught up.
    """
    acknowledged_s = intended_s + latency_s
    before = intended_s < killed_s - _UNDER_WAY_S
    limit_s = NORMAL_FACTOR * float(np.percentile(latency_s[before], 99))
    caught_up_s = caught_up_at(intended_s, acknowledged_s, after, limit_s=limit_s)
    if caught_up_s is None:
        raise ValueError("the job never caught up")
    gained = ledger([batch for batch in after if batch.acknowledged_s <= caught_up_s])["consumed"]
    return {
        "away_s": round(start_s - killed_s, 1),
        "backlog": backlog_at(intended_s, acknowledged_s, start_s),
        "first_batch_began_s": round(after[0].started_s - start_s, 1),
        "caught_up_s": round(caught_up_s - start_s, 1),
        "events_per_s": round(gained / (caught_up_s - after[0].started_s)),
        "longest_wait_s": round(float(latency_s.max()), 1),
    }


# Does a quantity grow? Slopes by least squares over the last half of a run, each against its bound


@dataclass(frozen=True, slots=True)
class Bound:
    """How much a quantity may grow in an hour; `share` of its mean over the fitted span, and `at_least`."""

    name: str  # of the samples
    words: str
    unit: str
    share: float
    at_least: float
    reason: str
    digits: int = 0
    is_sawtooth: bool = False  # grows until Spark cleans up: what is left then is judged, the least of each 2 minutes

    def per_hour(self, mean: float) -> float:
        return max(self.share * mean, self.at_least)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthVerdict:
    """One quantity of a run."""

    bound: Bound
    at_middle: float
    at_end: float
    slope_per_hour: float
    noise_per_hour: float  # twice the slope's standard error
    most_per_hour: float

    @property
    def is_beyond(self) -> bool:
        """By more than the noise of other work on the machine explains."""
        return self.slope_per_hour - self.noise_per_hour > self.most_per_hour

    @property
    def is_within(self) -> bool:
        return self.slope_per_hour <= self.most_per_hour

    @property
    def words(self) -> str:
        if self.is_beyond:
            return "beyond"
        return "within" if self.is_within else "not told from noise"


def slope_per_hour(t_s: Values, values: Values) -> float:
    """Slope of the least-squares line, per hour. Raises ValueError for fewer than 3 samples: a line says nothing then.

    >>> slope_per_hour(np.array([0.0, 1800.0, 3600.0]), np.array([5.0, 6.0, 7.0]))
    2.0
    """
    there = np.isfinite(values)
    if there.sum() < 3:
        raise ValueError(f"{there.sum()} samples are too few for a slope: run longer")
    t_h, y = t_s[there] / 3600, values[there]
    t_h = t_h - t_h.mean()
    return float((t_h * (y - y.mean())).sum() / (t_h**2).sum())


def noise_per_hour(t_s: Values, values: Values) -> float:
    """Twice the standard error of the slope, from means over a minute: samples seconds apart are much alike.

    0 when there are fewer than 3 minutes: nothing is then excused as noise.
    """
    there = np.isfinite(values)
    _, minute = np.unique(t_s[there] // 60, return_inverse=True)
    size = np.bincount(minute)
    if len(size) < 3:
        return 0.0
    x, y = (np.bincount(minute, weights=axis[there]) / size for axis in (t_s / 3600, values))
    x, y = x - x.mean(), y - y.mean()
    slope = (x * y).sum() / (x**2).sum()
    return float(2 * np.sqrt(((y - slope * x) ** 2).sum() / (len(x) - 2) / (x**2).sum()))


def ledger_faults(ledger: Mapping[str, int], expected: Mapping[str, int]) -> list[str]:
    """Where the ledger is not what was sent, in words; empty when it is."""
    outcomes = ("counted", "corrected", "duplicate", "repeated", "excluded", "rejected")
    faults = [
        f"{name}: {ledger.get(name, 0):,} in the ledger, {expected.get(name, 0):,} were sent"
        for name in ("consumed", *outcomes)
        if ledger.get(name, 0) != expected.get(name, 0)
    ]
    if ledger.get("consumed", 0) != sum(ledger.get(name, 0) for name in outcomes):
        faults.append(f"the ledger does not balance: {dict(ledger)}")
    return faults


def judge(samples: Samples, bounds: Sequence[Bound], *, from_s: float) -> list[GrowthVerdict]:
    """A verdict per bound, from the samples at or after `from_s`. Values are medians of its first and last tenth."""
    verdicts = []
    for bound in bounds:
        t, values = samples["t_s"], samples[bound.name]
        if bound.is_sawtooth:  # the least sample in each _CLEANED_S seconds
            span = t // _CLEANED_S
            least = [np.flatnonzero(span == each)[np.nanargmin(values[span == each])] for each in np.unique(span)]
            t, values = t[least], values[least]
        t, values = t[t >= from_s], values[t >= from_s]
        there = values[np.isfinite(values)]
        few = max(1, len(there) // 10)
        verdicts.append(
            GrowthVerdict(
                bound=bound,
                at_middle=float(np.median(there[:few])),
                at_end=float(np.median(there[-few:])),
                slope_per_hour=slope_per_hour(t, values),
                noise_per_hour=noise_per_hour(t, values),
                most_per_hour=bound.per_hour(float(there.mean())),
            )
        )
    return verdicts


_PYTHON = (
    "the runs showed 9 and 31 at most, noise included; a batch that is kept (138 KiB a region) would "
    "be 480 MiB a region"
)
_NATIVE = "no collection frees it; a state store that is kept would be more"
_LIVE = "counts by the day, and what Spark lets go of late; a batch that is kept would be more"
_CLASSES = "compiling ends after a while; a class for every batch would be more"
_CLOSED = "one in hundreds of batches: what a batch or an artifact opens, it must close"
_KEPT = "Spark keeps 20 batches and cleans up about every minute; the least of each 2 minutes is judged"
_STATE = (
    "counts by the day may add 21 MiB an hour by design; incidents that are never forgotten would add more than 100"
)
_PACE = "a job that slows down as it ages would fall behind without end"
BOUNDS = (  # name, words, unit, share, at least, reason
    Bound("driver_mib", "memory of the driver", "MiB", 0, 20, _PYTHON),
    Bound("workers_mib", "memory of all Python workers", "MiB", 0, 50, _PYTHON),
    Bound("beyond_heap_mib", "JVM memory beyond its heap", "MiB", 0, 100, _NATIVE),
    Bound("heap_mib", "JVM heap after a full collection", "MiB", 0, 30, _LIVE),
    Bound("outside_mib", "JVM classes and compiled code", "MiB", 0, 50, _CLASSES),
    Bound("files", "open files, driver and JVM", "files", 0, 20, _CLOSED),
    Bound("threads", "threads, driver and JVM", "threads", 0, 20, _CLOSED),
    Bound("checkpoint_files", "files of the checkpoint", "files", 0.2, 20, _KEPT, is_sawtooth=True),
    Bound("checkpoint_mib", "Spark's checkpoint", "MiB", 0.2, 30, _STATE),
    Bound("state_mib", "the state in it", "MiB", 0.2, 30, _STATE),
    Bound("local_mib", "Spark's temporary files", "MiB", 0.2, 30, _STATE, is_sawtooth=True),
    Bound("batch_s", "seconds a batch, mean", "s", 0.5, 0.5, _PACE, digits=2),
    Bound("lag_events", "events not in the ledger yet", "events", 0.5, 2000, _PACE),
)


# For people


_OUTAGE = {
    "away_s": "the scorer was away, s",
    "backlog": "events that waited at its start",
    "first_batch_began_s": "its first batch began after, s",
    "caught_up_s": "it had caught up after, s",
    "events_per_s": "events/s meanwhile",
    "longest_wait_s": "longest wait of an event, s",
}


def load_tables(results: Mapping[str, Any]) -> Iterator[Table]:
    """Latency by phase; the outage, where there was one; slopes, where simulated time was fast."""
    plan = results["plan"]
    yield table_of(
        f"{plan.rate_per_s:,.0f} messages/s, sender late by {results['sender_late_p99_ms']:g} ms at p99",
        ("phase", "seconds", "events", "p50, ms", "p95, ms", "p99, ms", "max, ms"),
        [
            (name, *(f"{phase[key]:,.0f}" for key in ("seconds", "events", "p50", "p95", "p99", "max")))
            for name, phase in results["phases"].items()
        ],
    )
    if "outage" in results:
        rows = [(words, f"{results['outage'][name]:,.10g}") for name, words in _OUTAGE.items()]
        yield table_of("killed and started again", ("figure", "value"), rows)
    if "growth" in results:
        title = "least-squares lines over the last half; noise is twice the slope's standard error"
        table = table_of(title, ("quantity", "unit", "middle", "end", "slope an hour", "noise", "bound", "verdict"))
        for verdict in results["growth"]:
            plain, signed = (f"{sign},.{verdict.bound.digits}f" for sign in ("", "+"))
            levels = (format(level, plain) for level in (verdict.at_middle, verdict.at_end))
            slopes = (verdict.slope_per_hour, verdict.noise_per_hour, verdict.most_per_hour)
            shown = (*levels, *(format(slope, signed) for slope in slopes))
            table.add_row(verdict.bound.words, verdict.bound.unit, *shown, verdict.words)
        yield table


def what_is_wrong(results: Mapping[str, Any]) -> list[str]:
    """Where the ledger is not what was sent, and what grew, once the run was long enough to tell."""
    verdicts = results.get("growth", ()) if results["plan"].minutes >= LEAST_MINUTES else ()
    grown = [verdict for verdict in verdicts if not verdict.is_within]
    return [*results["faults"], *(f"{of.bound.words}: {of.words}; {of.bound.reason}" for of in grown)]

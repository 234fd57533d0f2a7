"""What the measurements share: machine, broker, store, topics, untrained artifacts, and the job in its process."""

import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
from rich.table import Table

from benchmarks.local_store import BINARIES, local_store
from benchmarks.measured_job import Orders, TimedBatch, batches_of, ledger
from models.artifact import write_untrained
from schemas.files import stamp
from schemas.spec import DAY_S, Spec
from streaming.jars import KAFKA_VERSION
from streaming.kafka import KafkaConnection, ensure_topics
from streaming.rehearse.broker import TOPIC_PARTITIONS, start_broker
from streaming.settings import Settings

ROOT = Path(__file__).parents[1]
Say = Callable[[str], None]
_END_S, _START_LIMIT_S, _LIMIT_S = 30.0, 300.0, 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """The sizes of one run, by default of a full one."""

    name: str = "full"
    events: int = 6_400_000  # pre-loaded for throughput, in each of the two topics
    rounds: int = 3
    events_per_batch: int | None = None  # None: the product's default
    rate_per_s: float = 1000.0
    latency_warm_up_s: float = 15.0
    latency_s: float = 90.0  # measured, after the warm-up
    frame_repeats: int = 30


FULL = Sizes()
AGAINST = Sizes(name="against", events=4_800_000, latency_s=60.0)
QUICK = Sizes(
    name="quick",
    events=200_000,
    rounds=1,
    events_per_batch=40_000,
    latency_warm_up_s=5.0,
    latency_s=15.0,
    frame_repeats=5,
)


# Where and with what a run was made, and its results


def describe_machine() -> dict[str, Any]:
    """Processor, cores we may use, memory, and how busy the machine already is."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_average_at_start": [round(value, 2) for value in os.getloadavg()],
        "system": platform.platform(),
    }


def describe_versions() -> dict[str, str]:
    """Of what the commit does not pin."""

    def first_line(program: str) -> str:
        path = shutil.which(program)
        if path is None:
            return "not installed"
        ran = subprocess.run([path, "-version"], capture_output=True, text=True, timeout=30, check=False)
        return next(iter((ran.stdout + ran.stderr).strip().splitlines()), "says nothing")

    store = BINARIES["victoria-metrics"]
    return {
        "python": platform.python_version(),
        "java": first_line("java"),
        "kafka": KAFKA_VERSION,
        store: first_line(store),
    }


def made_at() -> dict[str, str]:
    """When, and of which code."""
    return {"date": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit_of_the_tree()}


def commit_of_the_tree() -> str:
    """Git's short name of the code, with a + when files differ from it; empty outside of a clone."""
    words = ["git", "describe", "--always", "--exclude", "*", "--dirty=+"]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    return ran.stdout.strip()


def write_results(results: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results, order="sorted"), indent=2) + b"\n")


def table_of(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]] = ()) -> Table:
    """Words stand in the first column, figures in the others."""
    table = Table(title=title)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    return table


# Processes that measure: started with their orders in a file, ended whatever happens


class ChildError(Exception):
    """A measuring process failed or took too long."""


@contextmanager
def child(
    module: str, orders: Mapping[str, Any], folder: Path, *, python: str, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """`python -m module orders.json`, log in `folder`/log; the whole process group is gone on the way out."""
    folder.mkdir(parents=True)
    (folder / "orders.json").write_bytes(msgspec.json.encode(orders))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [python, "-m", module, str(folder / "orders.json")],
            cwd=ROOT,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            for number in (signal.SIGTERM, signal.SIGKILL):
                try:
                    os.killpg(process.pid, number)
                except ProcessLookupError:
                    break
                try:
                    process.wait(_END_S)
                except subprocess.TimeoutExpired:
                    continue
            process.wait()


def wait_for(process: subprocess.Popen[bytes], folder: Path, *, done: Callable[[], bool], limit_s: float) -> None:
    """Return when `done()`. Raises ChildError when the process fails before, or the limit has passed."""
    deadline_s = time.monotonic() + limit_s
    while not done():
        code = process.poll()
        if code is not None and not done():
            said = f"ended with code {code}"
        elif time.monotonic() > deadline_s:
            said = f"was not done after {limit_s:.0f} s"
        else:
            time.sleep(0.2)
            continue
        tail = (folder / "log").read_text(encoding="utf-8", errors="replace").strip()[-800:] or "its log is empty"
        raise ChildError(f"{folder.name} {said}: {tail}")


def run_child(
    module: str,
    orders: Mapping[str, Any],
    folder: Path,
    *,
    python: str,
    limit_s: float,
    environment: Mapping[str, str] | None = None,
) -> Any:
    """What the process wrote as JSON to the path `orders["result"]`, which is added here. Raises ChildError."""
    result = folder / "result.json"
    orders = {**orders, "result": str(result)}
    with child(module, orders, folder, python=python, environment=environment) as process:
        wait_for(process, folder, done=result.is_file, limit_s=limit_s)
        return msgspec.json.decode(result.read_bytes())


# The stack, and the job on it


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A running broker and store, and the folder that everything is written in."""

    folder: Path
    bootstrap: str
    store_url: str
    cache: Path
    plan: Sizes

    def artifacts(self, specs: Sequence[Spec]) -> Path:
        """A folder with one untrained artifact per spec; their history ends today at midnight."""
        folder = self.folder / f"artifacts-{specs[0].region}-{len(specs)}"
        if not folder.exists():
            now_s = int(time.time())
            created = stamp(now_s)
            for spec in specs:
                write_untrained(folder, spec, per_day=200.0, cutoff_s=now_s - now_s % DAY_S, created=created)
        return folder

    def topic(self, name: str) -> str:
        """Make a topic with as many partitions as `risk broker` gives."""
        ensure_topics(KafkaConnection(self.bootstrap), {name: TOPIC_PARTITIONS})
        return name

    def settings(self, *, topic: str, specs: Sequence[Spec], checkpoint: str) -> Settings:
        """As the product ships, except where things are, the batch size of a quick run, and no pause between batches.

        The default pause leaves an idle machine half free; a latency would mostly measure it.
        """
        return Settings.from_environment({}).with_options(
            kafka_bootstrap=self.bootstrap,
            topic=topic,
            dead_letter_topic=self.topic("dead-letters"),
            artifacts=self.artifacts(specs),
            checkpoint=self.folder / checkpoint,
            audit=self.folder / "audit.jsonl",
            sink="influxdb",
            trigger_s=0.0,
            influx_url=self.store_url,
            cache=self.cache,
            max_events_per_batch=self.plan.events_per_batch,
        )


def cache_of_the_machine() -> Path:
    """Where Kafka and Spark's jars are kept between runs."""
    named = {name: os.environ[name] for name in ("RISK_CACHE",) if name in os.environ}
    return Settings.from_environment(named).cache.expanduser().absolute()


def need_extra() -> None:
    """Raises ChildError before minutes are spent, where what sends events is not installed."""
    if find_spec("confluent_kafka") is None:
        raise ChildError("confluent-kafka is missing: install the extra `bench`")


@contextmanager
def running_stack(plan: Sizes) -> Iterator[Stack]:
    """Broker and store in a temporary folder, on free ports. Both are gone on the way out."""
    need_extra()
    cache = cache_of_the_machine()
    with (
        tempfile.TemporaryDirectory(prefix="risk-bench-") as folder,
        start_broker(Path(folder) / "broker", cache=cache, port=0) as broker,
        local_store("victoria-metrics", Path(folder) / "store") as store_url,
    ):
        yield Stack(folder=Path(folder), bootstrap=broker.bootstrap, store_url=store_url, cache=cache, plan=plan)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningJob:
    """The job at work."""

    process: subprocess.Popen[bytes]
    folder: Path
    started_s: float  # epoch seconds

    def batches(self) -> list[TimedBatch]:
        return batches_of(self.folder / "batches.jsonl")

    def wait_until_ready(self) -> None:
        """Return after two batches: Spark, torch and the artifacts are loaded."""
        wait_for(self.process, self.folder, done=lambda: len(self.batches()) >= 2, limit_s=_START_LIMIT_S)

    def wait_until_consumed(self, events: int) -> list[TimedBatch]:
        """All batches, once `events` are consumed. Raises ChildError unless each was counted, exactly once."""
        wait_for(self.process, self.folder, done=lambda: ledger(self.batches())["consumed"] >= events, limit_s=_LIMIT_S)
        batches = self.batches()
        total = ledger(batches)
        if total["consumed"] != events or total["counted"] != events:
            raise ChildError(f"invalid run: {events} events were loaded, the ledger says {dict(total)}")
        return batches

    def stop(self) -> None:
        """SIGTERM, and exit code 0, or ChildError."""
        self.process.send_signal(signal.SIGTERM)
        wait_for(self.process, self.folder, done=lambda: self.process.poll() == 0, limit_s=60)


@contextmanager
def running_job(
    stack: Stack,
    name: str,
    *,
    topic: str,
    specs: Sequence[Spec],
    is_spark_alone: bool = False,
    checkpoint: str | None = None,
    collect_every_s: float | None = None,
    environment: Mapping[str, str] | None = None,
    **options: Any,
) -> Iterator[RunningJob]:
    """Start the job, reading `topic` from its beginning; with the name of a checkpoint, from where that one is.

    options: settings other than the benchmark's.
    """
    folder = stack.folder / name
    settings = stack.settings(topic=topic, specs=specs, checkpoint=checkpoint or f"{name}-checkpoint")
    orders = Orders(
        settings=settings.with_options(**options).model_dump(mode="json", exclude={"influx_token"}),
        regions=[spec.region for spec in specs],
        batches=str(folder / "batches.jsonl"),
        is_spark_alone=is_spark_alone,
        heap=str(folder / "heap.jsonl") if collect_every_s else None,
        collect_every_s=collect_every_s or 0.0,
    )
    started_s, module = time.time(), "benchmarks.measured_job"
    with child(module, msgspec.to_builtins(orders), folder, python=sys.executable, environment=environment) as process:
        yield RunningJob(process=process, folder=folder, started_s=started_s)

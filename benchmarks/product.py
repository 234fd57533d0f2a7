"""Running the product against the stack, and what its batches say."""

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.child import ChildError, child, wait_for
from benchmarks.job import Orders, TimedBatch
from benchmarks.rates import Rate, rate_of
from benchmarks.stack import Stack
from schemas.spec import Spec

PRODUCT = "benchmarks.job"
FLOOR = "benchmarks.floor_job"
_LIMIT_S = 600.0
_START_LIMIT_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningJob:
    """The product at work."""

    process: subprocess.Popen[bytes]
    folder: Path
    started_s: float  # epoch seconds

    def batches(self) -> list[TimedBatch]:
        """Those that were acknowledged so far, in order."""
        path = self.folder / "batches.jsonl"
        whole = path.read_bytes().rpartition(b"\n")[0].splitlines() if path.exists() else []
        return [msgspec.json.decode(line, type=TimedBatch) for line in whole]

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
    module: str = PRODUCT,
    checkpoint: str | None = None,
    collect_every_s: float | None = None,
    environment: Mapping[str, str] | None = None,
    **options: Any,
) -> Iterator[RunningJob]:
    """Start the product, reading `topic` from its beginning; with the name of a checkpoint, from where that one is.

    options: settings other than the benchmark's.
    """
    folder = stack.folder / name
    settings = stack.settings(topic=topic, specs=specs, checkpoint=checkpoint or f"{name}-checkpoint")
    orders = Orders(
        settings=settings.with_options(**options).model_dump(mode="json", exclude={"influx_token"}),
        regions=len(specs),
        batches=str(folder / "batches.jsonl"),
        heap=str(folder / "heap.jsonl") if collect_every_s else None,
        collect_every_s=collect_every_s or 0.0,
    )
    started_s = time.time()
    with child(module, msgspec.to_builtins(orders), folder, python=sys.executable, environment=environment) as process:
        yield RunningJob(process=process, folder=folder, started_s=started_s)


def ledger(batches: Sequence[TimedBatch]) -> Counter[str]:
    """The batches' ledgers added up."""
    total: Counter[str] = Counter()
    for batch in batches:
        total.update(batch.ledger)
    return total


def measure_throughput(stack: Stack, name: str, *, topic: str, specs: Sequence[Spec], module: str = PRODUCT) -> Rate:
    """Rate over all events of the pre-loaded topic; the first batch that has any is the warm-up."""
    with running_job(stack, name, topic=topic, specs=specs, module=module) as job:
        batches = job.wait_until_consumed(stack.plan.events)
        job.stop()
    return rate_of_batches(batches)


def rate_of_batches(batches: Sequence[TimedBatch]) -> Rate:
    full = [batch for batch in batches if batch.ledger["consumed"]]
    done, marks = 0, []
    for batch in full:
        done += batch.ledger["consumed"]
        marks.append((done, batch.acknowledged_s))
    return rate_of(marks, started_s=full[0].started_s, warm_up_events=full[0].ledger["consumed"])

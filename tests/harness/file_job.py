"""The job fed with files instead of Kafka: a file that is sent is one micro-batch."""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import RiskError
from streaming.flow.rows import Published
from streaming.job import Job, Outside
from streaming.settings import Settings
from streaming.watchers import BatchLog
from tests.harness.batch import MemorySink

DEADLINE_S = 240.0
TOP_K = 3
MESSAGES = pa.schema(
    [("value", pa.binary()), ("partition", pa.int32()), ("offset", pa.int64()), ("time_ms", pa.int64())]
)


@dataclass
class Letters:
    """The dead-letter topic as a dictionary: where the message stood -> (its region, the reason)."""

    kept: dict = field(default_factory=dict)

    def write(self, refused):
        for region, rejections in refused.items():
            for refusal in rejections:
                self.kept[refusal.partition, refusal.kafka_offset] = (region, refusal.reason)

    def close(self):
        """Nothing to release."""


class NoKafka:
    """The messages come from files: there is no broker to watch."""

    is_away = False
    watched = nullcontext

    def take_over(self, stop):
        return True

    def refuse(self):
        pass

    def comes(self, batch, within_s):
        return True

    def unaccounted(self, batch, consumed):
        return 0


@dataclass
class FileJob:
    """source -> decode -> count -> score -> publish on one checkpoint. A file that is sent is one micro-batch."""

    session: object
    folder: Path
    clock: str = "event"
    sink: MemorySink = field(default_factory=MemorySink)
    letters: Letters = field(default_factory=Letters)
    published: list[Published] = field(default_factory=list)
    failure: RiskError | None = None
    sent: int = 0
    _files: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    @property
    def artifacts(self) -> Path:
        return self.folder / "artifacts"

    @property
    def settings(self) -> Settings:
        return Settings(
            artifacts=self.artifacts,
            checkpoint=self.folder / "checkpoint",
            audit=self.folder / "audit.jsonl",
            frames=self.folder / "frames",
            clock=self.clock,
            trigger_s=0.05,
            top_k=TOP_K,
        )

    def send(self, messages: Sequence[tuple[bytes | None, int, int, int]]) -> None:
        """Hand over (value, partition, offset, time_ms) as the next micro-batch."""
        columns = [list(column) for column in zip(*messages, strict=True)]
        table = pa.table([pa.array(c, f.type) for c, f in zip(columns, MESSAGES, strict=True)], schema=MESSAGES)
        self._files += 1
        unseen = self.folder / f"{self._files:04d}.parquet"
        pq.write_table(table, unseen)
        os.utime(unseen, (self._files, self._files))  # the source reads the oldest file first
        unseen.rename(self._input() / unseen.name)
        self.sent += len(messages)

    def start(self, **overrides) -> None:
        settings = self.settings.model_copy(update=overrides)
        outside = Outside(
            spark=lambda: nullcontext(self.session),
            read=self._read,
            topic=NoKafka(),
            dead_letters=self.letters,
            sink=self.sink,
        )
        self.failure, self._stop = None, threading.Event()

        def run():
            with closing(BatchLog(settings.checkpoint, top_k=TOP_K)) as log:
                try:
                    Job(settings, outside, [log.keep, self.published.append]).run(self._stop)
                except RiskError as error:
                    self.failure = error

        self._thread = threading.Thread(target=run)
        self._thread.start()

    def stop(self) -> None:
        """Stop between two batches. Raises what ended the job."""
        self._stop.set()
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive(), "the query did not stop"
        if self.failure is not None:
            raise self.failure

    def wait_for_end(self) -> RiskError:
        """The error that ended the job."""
        self._thread.join(DEADLINE_S)
        assert not self._thread.is_alive(), "the query still runs"
        assert self.failure is not None
        return self.failure

    @contextmanager
    def running(self, **overrides) -> Iterator["FileJob"]:
        self.start(**overrides)
        try:
            yield self
        finally:
            self.stop()

    def wait_until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not condition():
            if self.failure is not None:
                raise self.failure
            assert time.monotonic() < deadline, "waited in vain"
            time.sleep(0.02)

    def consumed(self) -> int:
        """Messages in the newest totals of every region."""
        newest = {region: s for p in list(self.published) for region, s in p.summaries.items()}
        return sum(summary.totals["consumed"] for summary in newest.values())

    def with_messages(self) -> list[Published]:
        """Batches that brought a message."""
        return [batch for batch in list(self.published) if sum(s.ledger["consumed"] for s in batch.summaries.values())]

    def take_in(self, messages) -> None:
        """Send one more batch, and wait until the job, which runs, has counted all."""
        self.send(messages)
        self.wait_until(lambda: self.consumed() == self.sent)

    def run_through(self, batches, **overrides) -> None:
        """Send the batches, wait until the job has counted all of them, and stop it."""
        for batch in batches:
            self.send(batch)
        with self.running(**overrides):
            self.wait_until(lambda: self.consumed() == self.sent)

    def frames(self, region: str) -> list:
        return [p.frames[region] for p in list(self.published) if region in p.frames]

    def _read(self, session):
        columns = "value binary, `partition` int, `offset` bigint, time_ms bigint"
        return session.readStream.schema(columns).option("maxFilesPerTrigger", 1).parquet(str(self._input()))

    def _input(self) -> Path:
        path = self.folder / "input"
        path.mkdir(exist_ok=True)
        return path

"""Why Spark or its query ended, in a line for an operator: Spark itself prints hundreds."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from threading import Event

from schemas.errors import BrokerError, RiskError, SparkFailed
from streaming.disk.checkpoint import damaged, open_batch
from streaming.settings import Settings
from streaming.topics.kafka import refusal_in

_SIGNAL_MAY_FOLLOW_S = 1.0
_KAFKA_FAILED = re.compile(r"org\.apache\.kafka\.common\.errors\.(Timeout|Disconnect|Network)Exception")
_EVENTS_LOST = re.compile(r"KAFKA_DATA_LOSS|[Ss]ome data may have been (?:lost|missed)")
_UNREADABLE = re.compile(r"Record at (topic \S+ partition \d+ offset \d+) has timestamp value (-?\d+)")
_WORKER_LATE = re.compile(r"Python worker failed to connect back|CANNOT_OPEN_SOCKET")
_WORKER_GONE = re.compile(r"Python worker exited unexpectedly|IOException: (?:Broken pipe|Connection reset)")
# Spark's text for a damaged checkpoint -> ours. The first that matches counts.
_DAMAGED = (
    (r"Incomplete log file", "a file of offsets or commits is cut off"),
    (r"STREAMING_CHECKPOINT_MISSING_METADATA_FILE|MISSING_METADATA_FILE", "its file `metadata` is missing"),
    (r"MISSING_STATE_DIRECTORY", "the folder of the counts is missing"),
    (r"ChecksumException: Checksum error: file:(\S+)", "a file does not match its checksum"),
    (r"CANNOT_LOAD_STATE_STORE|CANNOT_READ_\w*|UNEXPECTED_FILE_SIZE", "the counts in it cannot be read"),
    (r"STATE_STORE_(?:KEY|VALUE)_SCHEMA_NOT_COMPATIBLE", "the counts in it were written by another version"),
    (r"CONCURRENT_STREAM_LOG_UPDATE|Multiple streaming queries are concurrently", "offsets and commits do not match"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Turns Spark's errors into a RiskError with its remedy."""

    checkpoint: Path
    topic: str
    bootstrap: str
    username: str
    without_secrets: Callable[[str], str]

    @classmethod
    def of(cls, settings: Settings) -> "Diagnosis":
        return cls(
            checkpoint=settings.checkpoint,
            topic=settings.topic,
            bootstrap=settings.kafka_bootstrap,
            username=settings.kafka_username,
            without_secrets=settings.without_secrets,
        )

    @property
    def spark_log(self) -> Path:
        return self.checkpoint.absolute() / "spark.log"

    def failure(self, error: Exception) -> RiskError:
        """The RiskError that says what ended the query."""
        text = str(error)
        if unreadable := _UNREADABLE.search(text):
            place, timestamp = unreadable.groups()
            return BrokerError(
                f"Spark cannot read {place}: its Kafka timestamp {timestamp} ms is too far away",
                remedy="set message.timestamp.after.max.ms of the topic, so that the broker refuses such messages; "
                "then pass this one with `checkpoint --reset TIME`",
            )
        if refused := refusal_in(text, bootstrap=self.bootstrap, username=self.username):
            return refused
        for pattern, what in _DAMAGED:
            if re.search(pattern, text):
                return damaged(self.checkpoint, f"{what} (see {self.spark_log})")
        if _WORKER_LATE.search(text):
            return SparkFailed(
                f"a Python worker of Spark did not start in time{self._place()}: the machine is overloaded, or the "
                "folder for temporary files is full or gone",
                remedy=f"start again when that is over; see {self.spark_log}",
            )
        if _WORKER_GONE.search(text):
            return SparkFailed(
                f"a Python worker of Spark ended at every try{self._place()}; most likely the system killed it because "
                "memory ran out (`dmesg`, or the container's limit)",
                remedy="give it more memory; RISK_MAX_EVENTS_PER_BATCH makes later batches smaller, but not this one; "
                f"see {self.spark_log}",
            )
        return SparkFailed(f"{self.first_line(error)}{self._place()}", remedy=f"see {self.spark_log}")

    def first_line(self, error: Exception) -> str:
        """The text of an exception without Spark's plans and traces, and without secrets."""
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        named = [line for line in lines if "Error:" in line or "Exception:" in line]
        before_plan = list(takewhile(lambda line: not line.startswith("=="), lines))
        return self.without_secrets((named or before_plan or lines or [type(error).__name__])[-1])[:500]

    def _place(self) -> str:
        """` in batch 7 of incidents.v1 (partition 0: offsets 10 to 12)`, if a batch began and did not end."""
        batch = open_batch(self.checkpoint)
        if batch is None:
            return ""
        number, spans = batch
        places = ", ".join(f"partition {p}: offsets {first} to {last}" for p, (first, last) in sorted(spans.items()))
        return f" in batch {number} of {self.topic} ({places or 'no events'}), which the next start repeats"


def failed_by_kafka(error: Exception) -> bool:
    """Whether a client of Kafka gave up waiting: a new query may succeed."""
    return bool(_KAFKA_FAILED.search(str(error)))


def lost_events(error: Exception) -> bool:
    """Whether Spark misses events in the topic. Which are gone, and whether it is the same topic, Kafka can say."""
    return bool(_EVENTS_LOST.search(str(error)))


def ended_by_signal(failure: RiskError, stop: Event) -> bool:
    """Whether Spark failed because the signal that stops us also reached its own processes.

    A supervisor that ends a group one by one may reach Spark's processes before us, so `stop` has a second to be set.
    """
    return isinstance(failure, SparkFailed) and stop.wait(_SIGNAL_MAY_FOLLOW_S)

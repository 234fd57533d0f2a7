"""Why Spark's query has ended, in words for an operator: Spark itself tells it in hundreds of lines."""

import re
from pathlib import Path
from threading import Event

from schemas.errors import BrokerError, RiskError, SparkFailed
from streaming.disk.spark_files import damaged, open_batch
from streaming.settings import Settings
from streaming.topics.client import refusal_in

_SIGNAL_MAY_FOLLOW_S = 1.0
_KAFKA_FAILED = re.compile(r"org\.apache\.kafka\.common\.errors\.(Timeout|Disconnect|Network)Exception")
_EVENTS_LOST = re.compile(r"KAFKA_DATA_LOSS|[Ss]ome data may have been (?:lost|missed)")
_UNREADABLE = re.compile(r"Record at (topic \S+ partition \d+ offset \d+) has timestamp value (-?\d+)")
_WORKER_GONE = re.compile(r"Python worker exited unexpectedly|IOException: (?:Broken pipe|Connection reset)")
# Spark's words for a damaged checkpoint -> ours. The first that is found counts.
_DAMAGED = (
    (r"Incomplete log file", "a file of offsets or commits is cut off"),
    (r"STREAMING_CHECKPOINT_MISSING_METADATA_FILE|MISSING_METADATA_FILE", "its file `metadata` is missing"),
    (r"MISSING_STATE_DIRECTORY", "the folder of the counts is missing"),
    (r"ChecksumException: Checksum error: file:(\S+)", "a file does not match its checksum"),
    (r"CANNOT_LOAD_STATE_STORE|CANNOT_READ_\w*|UNEXPECTED_FILE_SIZE", "the counts in it cannot be read"),
    (r"STATE_STORE_(?:KEY|VALUE)_SCHEMA_NOT_COMPATIBLE", "the counts in it were written by another version"),
    (r"CONCURRENT_STREAM_LOG_UPDATE|Multiple streaming queries are concurrently", "offsets and commits do not match"),
)


def spark_log(settings: Settings) -> Path:
    return settings.checkpoint.absolute() / "spark.log"


def failed_by_kafka(error: Exception) -> bool:
    """Whether a client of Kafka gave up waiting: a new query may fare better."""
    return bool(_KAFKA_FAILED.search(str(error)))


def lost_events(error: Exception) -> bool:
    """Whether Spark misses events in the topic: what is gone, and whether it is the same topic, Kafka can say."""
    return bool(_EVENTS_LOST.search(str(error)))


def failure_of(error: Exception, settings: Settings) -> RiskError:
    """The RiskError that says what has ended the query, with the remedy."""
    text = str(error)
    if unreadable := _UNREADABLE.search(text):
        place, timestamp = unreadable.groups()
        return BrokerError(
            f"Spark cannot read {place}: its Kafka timestamp {timestamp} ms is too far away. Set "
            "message.timestamp.after.max.ms of the topic, so that the broker refuses such messages, then pass this "
            "one with `checkpoint reset --from TIME`"
        )
    if refused := refusal_in(text, bootstrap=settings.kafka_bootstrap, username=settings.kafka_username):
        return refused
    for pattern, what in _DAMAGED:
        if re.search(pattern, text):
            return damaged(settings.checkpoint, f"{what} (see {spark_log(settings)})")
    if _WORKER_GONE.search(text):
        return SparkFailed(
            f"a Python worker of Spark ended at every try{_place(settings)}: most likely it was killed for want of "
            "memory (`dmesg`, or the container's limit). Give it more; RISK_MAX_EVENTS_PER_BATCH makes later batches "
            f"smaller, not this one; see {spark_log(settings)}"
        )
    return SparkFailed(f"{first_line(error, settings)}{_place(settings)}; see {spark_log(settings)}")


def ended_by_signal(failure: RiskError, stop: Event) -> bool:
    """Whether Spark failed since its processes got the signal too that tells us to stop: it then fails in many words.

    A supervisor that ends a group one by one may come to Spark's processes before us, so `stop` has a second to come.
    """
    return isinstance(failure, SparkFailed) and stop.wait(_SIGNAL_MAY_FOLLOW_S)


def first_line(error: Exception, settings: Settings) -> str:
    """What an exception says, without Spark's plans and traces, and without secrets."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if "Error:" in line or "Exception:" in line]
    return settings.without_secrets((named or lines or [type(error).__name__])[-1])[:500]


def _place(settings: Settings) -> str:
    """` in batch 7 of incidents.v1 (partition 0: offsets 10 to 12)`, if a batch has begun and not ended."""
    batch = open_batch(settings.checkpoint)
    if batch is None:
        return ""
    number, spans = batch
    places = ", ".join(f"partition {one}: offsets {first} to {last}" for one, (first, last) in sorted(spans.items()))
    return f" in batch {number} of {settings.topic} ({places or 'no events'}), which is repeated at the next start"

"""Whether the running job's scores may be relied on now: the rules, and the small file beside the checkpoint.

The job writes the file every second (health_watch.py). A container's health check (__main__.py) reads it every few
seconds, so nothing that is slow to import is imported here.
"""

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from schemas.errors import CheckpointError
from schemas.left_behind.health import JobHealth, health_path
from schemas.left_behind.heartbeat import START_IT, read_heartbeat
from schemas.limits import OLDEST_SCORES_S
from streaming.disk.checkpoint import is_held

LONGEST_SILENCE_S = 60.0  # of the store; it is asked (publish.py) also when nothing happens
HEALTH_FILE_STALE_S = 15.0


def judged(health: JobHealth) -> JobHealth:
    """The same report with `ready` and `reason`, which follow the rules below at the time the file is written."""
    reason = why_not_ready(health, health.written_at)
    return msgspec.structs.replace(health, ready=not reason, reason=reason)


def why_not_ready(health: JobHealth, now: datetime) -> str:
    """Why nobody should rely on the job's scores now; empty when they are reliable. Old scores are not.

    Scores are old when no batch was stored for LONGEST_SILENCE_S (or three triggers, if that is more), or when a
    region's are for a time more than OLDEST_SCORES_S ago. On the clock of events (replays) their age says nothing.
    Batches with nothing to write count as stored if the store was asked since and would take points.
    """
    if health.phase == "failed":
        return f"failed with exit code {health.exit_code}: {health.error}"
    if health.phase == "stopped":
        return "stopped"
    if health.kafka_away:
        return "Kafka does not answer"
    if health.store_trouble:
        return f"the store has not accepted the batch: {health.store_trouble}"
    if health.last_batch is None:
        since_s = (now - health.started_at).total_seconds()
        if since_s > LONGEST_SILENCE_S:
            return f"no batch has been stored in the {since_s:,.0f} s since the start"
        return "starting: no batch has been stored yet"
    if not health.ledger_balanced:
        return f"the ledger of {', '.join(health.unbalanced)} does not balance: report this, do not rely on the counts"
    silence_s = (now - health.last_batch.stored_at).total_seconds()
    if abs(silence_s) > max(LONGEST_SILENCE_S, 3 * health.trigger_s):
        return f"no batch has been stored for {silence_s:,.0f} s"
    for region, scores in health.regions.items():
        age_s = (now - scores.as_of).total_seconds()
        if health.clock == "wall" and abs(age_s) > OLDEST_SCORES_S:
            return f"the scores of {region} are for {_time(scores.as_of)}, {_ago(age_s)}"
    return ""


def read_health(checkpoint: Path, now: datetime) -> tuple[JobHealth | None, str]:
    """(the file's content, why the job is not ready). No file, an old one, or one whose job is gone is not ready."""
    try:
        health = msgspec.json.decode(health_path(checkpoint).read_bytes(), type=JobHealth)
    except FileNotFoundError:
        return None, f"no job has run on {checkpoint} yet, or none since it was reset"
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        return None, f"{health_path(checkpoint)} cannot be read ({error})"
    age_s = (now - health.written_at).total_seconds()
    if health.phase == "running" and not is_held(checkpoint):
        return health, f"no job is running: process {health.process} ended without a report, last wrote {_ago(age_s)}"
    if health.phase == "running" and abs(age_s) > HEALTH_FILE_STALE_S:
        return health, f"process {health.process} hangs or was paused: last wrote {_ago(age_s)}"
    return health, why_not_ready(health, now)


def in_words(health: JobHealth | None, reason: str, now: datetime) -> Iterator[str]:
    """The report in words; each line says one fact."""
    yield f"not ready: {reason}" if reason else "ready"
    if health is None:
        return
    if health.withheld:
        yield health.withheld
    yield f"process {health.process}, started {_time(health.started_at)}, last wrote {_since(health.written_at, now)}"
    batch = health.last_batch
    stored = f"batch {batch.id} done, the store answered {_since(batch.stored_at, now)}" if batch else ""
    yield stored or "no batch stored yet"
    for region, scores in health.regions.items():
        age = f", {_since(scores.as_of, now)}" if health.clock == "wall" else " on the clock of events"
        only = f", without the network ({scores.baseline_only})" if scores.baseline_only else ""
        yield f"scores of {region} as of {_time(scores.as_of)}{age}{only}"
        if scores.unfollowed:
            yield f"scores of {region} do not follow what the last weeks showed: {scores.unfollowed}"
    yield "ledger balanced" if health.ledger_balanced else "ledger NOT balanced"
    agree = f"differ by {health.unaccounted:,} messages" if health.unaccounted else "agree"
    yield f"Kafka's offsets and the ledger {agree}"
    yield "Kafka does not answer" if health.kafka_away else "Kafka answers"
    waiting = "; the next one waits for the store" if health.store_trouble else ""
    yield f"{health.lag_events:,.0f} events in Kafka were not read yet at that batch{waiting}"


def watch_in_words(checkpoint: Path, now: datetime) -> Iterator[str]:
    """How what runs beside the job goes. The scores do not wait for it."""
    try:
        heartbeat = read_heartbeat(checkpoint)
    except CheckpointError as error:
        yield f"watch: {error}"
        return
    if heartbeat is None:
        yield f"watch: none has run: {START_IT}"
        return
    for fault in heartbeat.faults(now.timestamp()):
        yield f"watch: {fault}"
    for name, part in heartbeat.parts.items():
        if part.ended_s:
            yield f"watch: {name} last came to its end {_ago(now.timestamp() - part.ended_s)}"


def _since(then: datetime, now: datetime) -> str:
    return _ago((now - then).total_seconds())


def _ago(seconds: float) -> str:
    long = abs(seconds)
    units = ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h"), (math.inf, 86_400, "days"))
    width, unit = next((width, unit) for limit, width, unit in units if long < limit)
    return f"{long / width:,.0f} {unit} {'ahead of this clock' if seconds < 0 else 'ago'}"


def _time(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ")

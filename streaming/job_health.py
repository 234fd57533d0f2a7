"""Whether the running job's scores may be relied on now: the rules, and the small file beside the checkpoint.

The job writes the file every second. `python -m streaming.job_health`, a container's health check, reads it every few
seconds, so nothing that is slow to import is imported here.
"""

import logging
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from schemas.errors import CheckpointError
from schemas.files import replace_file
from schemas.limits import OLDEST_SCORES_S
from schemas.records import START_IT, JobHealth, RegionHealth, StoredBatch, health_path, read_heartbeat
from streaming.checkpoint import is_held

if TYPE_CHECKING:
    from streaming.flow.rows import Published

log = logging.getLogger(__name__)
LONGEST_SILENCE_S = 60.0  # of the store; it is asked (publish.py) also when nothing happens
HEALTH_FILE_STALE_S = 15.0
_EVERY_S = 1.0


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


@dataclass(slots=True, kw_only=True)
class HealthWatch:
    """Collects what is known of the job and writes it into the file."""

    checkpoint: Path
    clock: Literal["wall", "event"]
    trigger_s: float
    now_s: Callable[[], float] = time.time
    is_clean: bool = False  # the job stopped between two batches
    answered_s: Callable[[], float] = lambda: 0.0  # when the store did, also while the newest batch is open
    _is_kafka_away: Callable[[], bool] = lambda: False
    _store_trouble: Callable[[], str] = lambda: ""
    _started_s: float = 0.0
    _newest: "Published | None" = None
    # Region -> as_of_s. These are replaced, never changed: another thread reads them.
    _scored: dict[str, int] = field(default_factory=dict)
    _only: dict[str, str] = field(default_factory=dict)
    _unfollowed: dict[str, str] = field(default_factory=dict)
    _totals: dict[str, Mapping[str, int]] = field(default_factory=dict)
    _is_failure_logged: bool = False

    def show(self, published: "Published") -> None:
        """Take in a stored batch; Spark's thread calls this."""
        summaries = published.summaries.items()
        self._scored = self._scored | {region: summary.as_of_s for region, summary in summaries if region}
        frames = published.frames.items()
        self._only = self._only | {region: frame.model if frame.baseline_only else "" for region, frame in frames}
        for region, reason in published.unfollowed.items():
            if reason and not self._unfollowed.get(region):
                log.warning("region=%s its scores do not follow what the last weeks showed: %s", region, reason)
        self._unfollowed = self._unfollowed | dict(published.unfollowed)
        self._totals = self._totals | {region: summary.totals for region, summary in summaries}
        self._newest = published

    @property
    def last_batch(self) -> int | None:
        return None if self._newest is None else self._newest.batch_id

    def is_ready(self) -> bool:
        return judged(self._health()).ready

    @contextmanager
    def written_meanwhile(self, ended_by: Callable[[BaseException], tuple[str, int]]) -> Iterator[None]:
        """Write the file every second meanwhile, and at the end how the job ended.

        ended_by: gives text, without secrets, and exit code of an error.
        """
        self._started_s = self.now_s()
        self.write()
        ended = threading.Event()

        def keep_writing() -> None:
            while not ended.wait(_EVERY_S):
                self.write()

        writer = threading.Thread(target=keep_writing, name="health", daemon=True)
        writer.start()
        last: dict[str, object] = {"phase": "stopped", "exit_code": 0}
        try:
            yield
        except BaseException as error:
            text, code = ended_by(error)
            last = {"phase": "failed", "error": text, "exit_code": code}
            raise
        finally:
            ended.set()
            writer.join()
            self.write(**last)

    def follow(self, is_kafka_away: Callable[[], bool], store_trouble: Callable[[], str]) -> None:
        """From now on, also at the end, the file says whether Kafka is away and why the store refused the batch."""
        self._is_kafka_away, self._store_trouble = is_kafka_away, store_trouble

    def write(self, **end: object) -> None:
        """A file that cannot be written only grows old, and its reader then reports: not ready."""
        content = msgspec.json.format(msgspec.json.encode(judged(msgspec.structs.replace(self._health(), **end))))
        try:
            replace_file(health_path(self.checkpoint), content, outlives_power_cut=False)
        except OSError as error:
            if not self._is_failure_logged:
                log.warning("the health file cannot be written (%s): `health` will say not ready", error.strerror)
            self._is_failure_logged = True
        else:
            self._is_failure_logged = False

    def _health(self) -> JobHealth:
        from streaming.flow.rows import is_balanced, label_of  # NumPy, which no container's check needs

        now_s, newest = self.now_s(), self._newest
        stored_s = self.answered_s() or (newest.acknowledged_s if newest else 0.0)
        unbalanced = sorted(label_of(region) for region, totals in self._totals.items() if not is_balanced(totals))
        return JobHealth(
            process=os.getpid(),
            started_at=_utc(self._started_s),
            written_at=_utc(now_s),
            clock=self.clock,
            trigger_s=self.trigger_s,
            last_batch=StoredBatch(newest.batch_id, _utc(stored_s)) if newest else None,
            regions={
                region: RegionHealth(
                    as_of=_utc(as_of_s),
                    age_s=round(now_s - as_of_s, 3),
                    baseline_only=self._only.get(region, ""),
                    unfollowed=self._unfollowed.get(region, ""),
                )
                for region, as_of_s in sorted(self._scored.items())
            },
            ledger_balanced=not unbalanced,
            unbalanced=unbalanced,
            kafka_away=self._is_kafka_away(),
            store_trouble=self._store_trouble(),
            unaccounted=newest.unaccounted if newest else 0,
            lag_events=newest.facts.lag_events if newest else 0.0,
            withheld=newest.withheld if newest else "",
        )


def _utc(epoch_s: float) -> datetime:
    return datetime.fromtimestamp(epoch_s, UTC)


if __name__ == "__main__":
    folder = Path(os.environ["RISK_CHECKPOINT"])  # noqa: TID251 - as the other programs' `__main__`
    _, reason = read_health(folder, datetime.now(UTC))
    sys.stdout.write(f"not ready: {reason}\n" if reason else "ready\n")
    sys.exit(bool(reason))

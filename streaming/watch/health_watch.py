"""Keeps the health file up to date while the job runs, and writes into it how the job ended."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from schemas.files import replace_file
from schemas.left_behind.health import JobHealth, RegionHealth, StoredBatch, health_path
from streaming.flow.ledger import is_balanced
from streaming.flow.rows import Published
from streaming.watch.health import judged

log = logging.getLogger(__name__)
_EVERY_S = 1.0


@dataclass(slots=True, kw_only=True)
class HealthWatch:
    """Collects what is known of the job and writes it into the file."""

    checkpoint: Path
    clock: Literal["wall", "event"]
    trigger_s: float
    now_s: Callable[[], float] = time.time
    _is_kafka_away: Callable[[], bool] = lambda: False
    _store_trouble: Callable[[], str] = lambda: ""
    _started_s: float = 0.0
    _newest: Published | None = None
    # Region -> as_of_s. These are replaced, never changed: another thread reads them.
    _scored: dict[str, int] = field(default_factory=dict)
    _only: dict[str, str] = field(default_factory=dict)
    _unfollowed: dict[str, str] = field(default_factory=dict)
    _totals: dict[str, Mapping[str, int]] = field(default_factory=dict)
    _is_failure_logged: bool = False

    def show(self, published: Published) -> None:
        """Take in a stored batch; Spark's thread calls this."""
        summaries = published.summaries.items()
        self._scored = self._scored | {region: summary.as_of_s for region, summary in summaries if region}
        frames = published.frames.items()
        self._only = self._only | {region: frame.model if frame.baseline_only else "" for region, frame in frames}
        for region, reason in published.unfollowed.items():
            if reason and not self._unfollowed.get(region):
                log.warning("region=%s its scores do not follow what the last weeks showed: %s", region, reason)
        self._unfollowed = self._unfollowed | dict(published.unfollowed)
        self._totals = self._totals | {region or "_unassigned": summary.totals for region, summary in summaries}
        self._newest = published

    @property
    def last_batch(self) -> int | None:
        return None if self._newest is None else self._newest.batch_id

    def is_ready(self) -> bool:
        return judged(self._health()).ready

    @contextmanager
    def kept(self, ended_by: Callable[[BaseException], tuple[str, int]]) -> Iterator[None]:
        """Write the file every second meanwhile, and at the end how the job ended.

        ended_by: gives text, without secrets, and exit code of an error.
        """
        self._started_s = self.now_s()
        self.write()
        ended = threading.Event()
        writer = threading.Thread(target=self._keep_writing, args=(ended,), name="health", daemon=True)
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

    def _keep_writing(self, ended: threading.Event) -> None:
        while not ended.wait(_EVERY_S):
            self.write()

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
        now_s, newest = self.now_s(), self._newest
        unbalanced = sorted(region for region, totals in self._totals.items() if not is_balanced(totals))
        return JobHealth(
            process=os.getpid(),
            started_at=_utc(self._started_s),
            written_at=_utc(now_s),
            clock=self.clock,
            trigger_s=self.trigger_s,
            last_batch=StoredBatch(newest.batch_id, _utc(newest.acknowledged_s)) if newest else None,
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

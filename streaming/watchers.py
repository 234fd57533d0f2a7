"""What the job's batches leave for other processes: the log of batches, the last frames, and Prometheus' figures.

All are watchers of the job: they get what the store has acknowledged, before Spark commits the batch.
"""

import logging
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path
from typing import Literal

import msgspec
from prometheus_client import GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR, CollectorRegistry, start_http_server
from prometheus_client.metrics import Counter, Gauge, Info

from models.counting.blobs import keep_counts
from schemas.batches import KEEP_DAYS, LoggedBatch, LoggedRegion, batches_folder, day_of, lines_path, logged_days
from schemas.errors import ArtifactError, CheckpointError, SettingsError, SinkError
from schemas.files import open_for_append
from schemas.fine import leave_shares
from schemas.frame import keep_hour, write_frames
from streaming.checkpoint import batch_time_ms, taken_offsets
from streaming.flow.rows import OUTCOMES_SHOWN, Published, has_news, label_of

log = logging.getLogger(__name__)
_PREFIX = "incident_risk"


class BatchLog:
    """Writes the lines: a watcher of the job. Only the process that holds the checkpoint's lock may write."""

    def __init__(self, checkpoint: Path, *, top_k: int) -> None:
        self._checkpoint = checkpoint
        self._top_k = top_k
        self._day = ""  # that the open file belongs to
        self._file: FileIO | None = None

    def keep(self, published: Published) -> None:
        """Write the batch's line, if it has news, and counts that begin a day. Raises CheckpointError: full disk."""
        for region, summary in published.summaries.items():
            if summary.day_counts:
                keep_counts(self._checkpoint, summary.day, region, summary.day_counts)
        regions = {
            region: LoggedRegion(
                as_of_s=summary.as_of_s,
                artifact=published.artifacts.get(region, ""),
                scores=published.frames[region].digest() if region in published.frames else "",
                totals={name: count for name, count in summary.totals.items() if count},
                newest_event_s=summary.newest_event_s,
                following=published.following.get(region, ""),
            )
            for region, summary in sorted(published.summaries.items())
            if has_news(region, summary, is_scored=region in published.frames)
        }
        if regions:
            number = published.batch_id
            at_ms = batch_time_ms(self._checkpoint, number)
            offsets = taken_offsets(self._checkpoint, number)
            batch = LoggedBatch(number=number, at_ms=at_ms, top_k=self._top_k, offsets=offsets, regions=regions)
            rest = memoryview(msgspec.json.encode(batch) + b"\n")
            try:
                file = self._file_of(day_of(at_ms))
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
            except OSError as error:
                self.close()  # the next line opens it again, which cuts off half a line
                raise CheckpointError(
                    f"{batches_folder(self._checkpoint)} cannot be written ({error.strerror})",
                    remedy="free disk space",
                ) from error

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _file_of(self, day: str) -> FileIO:
        if self._file is None:
            self._day = max(logged_days(self._checkpoint), default="")
        day = max(day, self._day)
        if self._file is None or day != self._day:
            self.close()
            self._file = open_for_append(lines_path(self._checkpoint, day))
            self._day = day
            for old in logged_days(self._checkpoint)[:-KEEP_DAYS]:  # by number: one wrong clock must not delete all
                shutil.rmtree(batches_folder(self._checkpoint) / old)
        return self._file


@dataclass(slots=True, kw_only=True)
class FrameWatch:
    """A file that cannot be written grows old, and who serves it then says: stale. Scoring into the store goes on."""

    folder: Path
    clock: Literal["wall", "event"]
    artifacts: Path  # in which each version's folder is
    _refused: set[str] = field(default_factory=set)  # regions whose last write failed
    _without: set[str] = field(default_factory=set)  # regions whose hour or squares could not be kept
    _compared: dict[str, str] = field(default_factory=dict)  # region -> version whose squares were left, and compared

    def show(self, published: Published) -> None:
        for region, views in published.views.items():
            try:
                write_frames(self.folder, views, self.clock, published.changes.get(region))
            except SinkError as error:
                if region not in self._refused:
                    log.warning("%s; the service will say that the scores of %s are stale", error, region)
                self._refused.add(region)
                continue
            self._refused.discard(region)
            try:
                keep_hour(self.folder, region, views[0].as_of_s)
                if views[0].spec.fine > 1:
                    artifact = self.artifacts / region / published.artifacts[region]
                    leave_shares(self.folder, artifact, compare=self._compared.get(region) != artifact.name)
                    self._compared[region] = artifact.name
            except (SinkError, ArtifactError) as error:
                if region not in self._without:
                    log.warning("%s; the map of %s will lack its squares or a picture of this hour", error, region)
                self._without.add(region)
            else:
                self._without.discard(region)


class Metrics:
    """The job's figures in Prometheus' format.

    The ledger and the age of the scores are our own; phases, rates and state of the last batch are Spark's. They
    contain nothing of an event and no secret. Asked at each scrape are is_ready, what `risk health` would say, and
    watched_until_s, as in schemas/records.py.
    """

    def __init__(self, is_ready: Callable[[], bool], watched_until_s: Callable[[], int | None]) -> None:
        self.registry = CollectorRegistry()
        self._counted = -1  # number of the newest batch whose ledger was added
        for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR):
            self.registry.register(collector)

        def gauge(name: str, words: str, *labels: str) -> Gauge:
            return Gauge(f"{_PREFIX}_{name}", words, labels, registry=self.registry)

        def counter(name: str, words: str, *labels: str) -> Counter:
            return Counter(f"{_PREFIX}_{name}", words, labels, registry=self.registry)

        gauge("ready", "1 while the scores may be relied on, as `health` says").set_function(lambda: float(is_ready()))
        watched = gauge("watch_well_timestamp_seconds", "Until when `risk watch` ran without a fault; 0: never")
        watched.set_function(lambda: float(watched_until_s() or 0))
        self._events = counter("events", "Messages since the start, by what became of them", "region", "outcome")
        self._rejected = counter("rejected", "Refused messages since the start, by reason", "region", "reason")
        self._points = counter("points_written", "Points that the store has acknowledged")
        self._retries = counter("write_retries", "Writes to the store that were tried again")
        self._dropped = counter("write_dropped", "Points that the store will never take")
        self._batches = counter("batches", "Batches since the start, of which the store has all points")
        self._stored_at = gauge("last_batch_timestamp_seconds", "When the store last accepted points or a test request")
        self._batch_s = gauge(
            "batch_seconds", "Time of the newest batch's writing, from its rows to the store's answer"
        )
        self._lag = gauge("lag_events", "Events in the topic that the job had not read when its newest batch began")
        self._unaccounted = gauge(
            "unaccounted_events", "Messages by Kafka's offsets less those in the ledger, since the start; 0 is right"
        )
        self._as_of = gauge("as_of_timestamp_seconds", "The time that the newest scores are for", "region")
        self._newest_event = gauge("newest_event_timestamp_seconds", "The newest incident that was counted", "region")
        self._model = Info(f"{_PREFIX}_model", "The artifact in force", ("region",), registry=self.registry)
        self._network = gauge(
            "network_in_use", "1 while the network makes the scores, 0 while only the baseline does", "region"
        )
        self._state = gauge("state_bytes", "Memory of Spark's state stores")
        self._rows = gauge("spark_input_rows_per_second", "Rate at which rows came, by Spark's newest progress")
        self._processed = gauge("spark_processed_rows_per_second", "Rate at which Spark could take them")
        self._phases = gauge(
            "spark_phase_seconds", "Spark's newest batch by phase; addBatch with the rest after it", "phase"
        )

    def show(self, published: Published) -> None:
        """Take in a stored batch. One that is repeated counts once; its writes are made, and counted, again."""
        is_new, self._counted = published.batch_id != self._counted, published.batch_id
        self._batches.inc(is_new)
        for name, summary in published.summaries.items():
            region = label_of(name)
            if name:
                self._as_of.labels(region).set(summary.as_of_s)
            if summary.newest_event_s:
                self._newest_event.labels(region).set(summary.newest_event_s)
            for outcome, count in summary.ledger.items() if is_new else ():
                if outcome in OUTCOMES_SHOWN:
                    self._events.labels(region, outcome).inc(count)
                elif outcome.startswith("rejected_"):
                    self._rejected.labels(region, outcome.removeprefix("rejected_")).inc(count)
        for region, version in published.artifacts.items():
            self._model.labels(region).info({"version": version})
        for region, frame in published.frames.items():
            self._network.labels(region).set(not frame.baseline_only)
        self._points.inc(published.points)
        self._retries.inc(published.retries)
        self._dropped.inc(published.dropped)
        self._stored_at.set(published.acknowledged_s)
        self._batch_s.set(published.seconds)
        self._unaccounted.set(published.unaccounted)
        facts = published.facts
        self._lag.set(facts.lag_events)
        self._state.set(facts.state_bytes)
        self._rows.set(facts.input_rows_per_s)
        self._processed.set(facts.processed_rows_per_s)
        for phase, seconds in facts.phases_s.items():
            self._phases.labels(phase).set(seconds)


@contextmanager
def served(
    address: str, is_ready: Callable[[], bool], watched_until_s: Callable[[], int | None]
) -> Iterator[list[Callable[[Published], None]]]:
    """Answer `GET /metrics` at `host:port` meanwhile; gives the watchers that it needs.

    With an empty address it serves nothing and gives an empty list. Raises SettingsError when the port is taken or the
    host is not this machine's.
    """
    if not address:
        yield []
        return
    metrics = Metrics(is_ready, watched_until_s)
    host, _, port = address.rpartition(":")
    try:
        server, thread = start_http_server(int(port), host.strip("[]"), metrics.registry)
    except OSError as error:
        raise SettingsError(
            f"RISK_METRICS={address}: nothing can listen there ({error})", remedy="choose a free port of this machine"
        ) from error
    try:
        yield [metrics.show]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

"""The job's figures in Prometheus' format over HTTP.

The ledger and the age of the scores are our own figures; phases, rates and state of the last batch are Spark's. They
contain nothing of an event and no secret.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from prometheus_client import GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR, CollectorRegistry, start_http_server
from prometheus_client.metrics import Counter, Gauge, Info

from schemas.errors import SettingsError
from streaming.flow.rows import OUTCOMES_SHOWN, Published, Summary, label_of

_PREFIX = "incident_risk"


class Metrics:
    """The figures of one job. Asked at each scrape are is_ready, what `risk health` would say, and
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
        if published.batch_id != self._counted:
            self._counted = published.batch_id
            self._add(published.summaries)
        for name, summary in published.summaries.items():
            region = label_of(name)
            if name:
                self._as_of.labels(region).set(summary.as_of_s)
            if summary.newest_event_s:
                self._newest_event.labels(region).set(summary.newest_event_s)
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

    def _add(self, summaries: Mapping[str, Summary]) -> None:
        self._batches.inc()
        for name, summary in summaries.items():
            region = label_of(name)
            for outcome, count in summary.ledger.items():
                if outcome in OUTCOMES_SHOWN:
                    self._events.labels(region, outcome).inc(count)
                elif outcome.startswith("rejected_"):
                    self._rejected.labels(region, outcome.removeprefix("rejected_")).inc(count)


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

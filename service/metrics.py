"""The service's figures for Prometheus."""

from prometheus_client import GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics import Counter, Histogram
from prometheus_client.registry import Collector
from starlette.types import Scope

from schemas.spec import ALL_CATEGORIES
from service.feed import Looks
from service.service import Service

_PREFIX = "incident_risk_service"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


class ServiceMetrics:
    """Requests by route, method and status; the rest is asked at each scrape."""

    def __init__(self, service: Service, feed: Looks) -> None:
        self.registry = CollectorRegistry()
        for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR, _Now(service, feed)):
            self.registry.register(collector)
        words = ("Answers, by route, method and status", "Time until an answer was sent, by route")
        self._requests = Counter(f"{_PREFIX}_requests", words[0], ("route", "method", "status"), registry=self.registry)
        self._seconds = Histogram(
            f"{_PREFIX}_request_seconds", words[1], ("route",), buckets=_SECONDS, registry=self.registry
        )

    def answered(self, scope: Scope, status: int, seconds: float) -> None:
        path = getattr(scope.get("route"), "path", "none")  # the pattern: an address is chosen by a stranger
        method = scope["method"] if scope["method"] in ("GET", "POST") else "other"
        self._requests.labels(path, method, str(status)).inc()
        if path != "/v1/stream":
            self._seconds.labels(path).observe(seconds)

    def text(self) -> bytes:
        return generate_latest(self.registry)


class _Now(Collector):
    def __init__(self, service: Service, feed: Looks) -> None:
        self.service, self.feed = service, feed

    def collect(self) -> list[GaugeMetricFamily]:
        frames = self.service.frames
        as_of = self._gauge("as_of_timestamp_seconds", "The time that the scores are for", "region")
        stale = self._gauge("stale", "1 while the scores are too old", "region")
        silent = self._gauge(
            "silent_feeds", "Feeds that bring next to nothing: of all categories, or of some", "region"
        )
        for region, stored in frames.by_region.items():
            as_of.add_metric([region], stored.by_category.as_of_s)
            stale.add_metric([region], float(self.service.now_of(stored).is_stale))
            silent.add_metric([region], len(stored.by_category.silent_of(ALL_CATEGORIES)))
        unreadable = self._gauge("unreadable_frames", "Files that could not be used, since the start")
        unreadable.add_metric([], frames.unreadable)
        streams = self._gauge("streams", "Streams that are open")
        streams.add_metric([], self.feed.open)
        return [as_of, stale, silent, unreadable, streams]

    @staticmethod
    def _gauge(name: str, words: str, *labels: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"{_PREFIX}_{name}", words, labels=labels)

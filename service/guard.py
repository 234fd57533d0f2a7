"""What surrounds every request: the longest body, headers and ETag of every answer, the allowed hosts, the figures."""

import hashlib
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl

from prometheus_client import GC_COLLECTOR, PLATFORM_COLLECTOR, PROCESS_COLLECTOR, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics import Counter as CounterMetric
from prometheus_client.metrics import Histogram
from prometheus_client.registry import Collector
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from schemas.spec import ALL_CATEGORIES
from service.callers import problem_answer
from service.service import Service

MOST_BODY_BYTES = 256 * 1024
_MOST_DRAINED_BYTES = 64 * MOST_BODY_BYTES  # many clients read no answer before their body is sent
_TOO_LONG = f"a request's body may have {MOST_BODY_BYTES} bytes"
_CLOSE = {"Connection": "close"}
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
_PREFIX = "incident_risk_service"
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


class ServiceMetrics:
    """Requests by route, method and status; the rest is asked at each scrape."""

    def __init__(self, service: Service) -> None:
        self.registry = CollectorRegistry()
        for collector in (PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR, _Now(service)):
            self.registry.register(collector)
        words = ("Answers, by route, method and status", "Time until an answer was sent, by route")
        self._requests = CounterMetric(
            f"{_PREFIX}_requests", words[0], ("route", "method", "status"), registry=self.registry
        )
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
    def __init__(self, service: Service) -> None:
        self.service = service

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
        streams.add_metric([], self.service.streams.total())
        return [as_of, stale, silent, unreadable, streams]

    @staticmethod
    def _gauge(name: str, words: str, *labels: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"{_PREFIX}_{name}", words, labels=labels)


@dataclass(frozen=True, slots=True)
class RequestGuard:
    """hosts: names that a request may give as its host; none: any. So no page of the web reaches this machine."""

    app: ASGIApp
    metrics: ServiceMetrics
    hosts: Sequence[str] = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope["method"] == "HEAD":  # answered as GET; the server itself leaves the body out
            scope = {**scope, "method": "GET"}
        began, status = time.perf_counter(), 500

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                for cookie in scope.get("state", {}).get("cookies", ()):
                    headers.append("Set-Cookie", cookie)
            await send(message)

        try:
            await self._answer(scope, receive, guarded)
        finally:
            self.metrics.answered(scope, status, time.perf_counter() - began)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        repeated = next((name for name, number in Counter(name for name, _ in query).items() if number > 1), None)
        host = headers.get("host", "").rpartition("@")[2]
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        if self.hosts and name not in self.hosts:
            said = f"this service has no tokens and answers only as {', '.join(self.hosts)}"
            await problem_answer(421, said)(scope, receive, send)
        elif b"%2f" in scope["raw_path"].lower():  # a proxy's rules take it for a part of a name
            await problem_answer(404, "no address here has an encoded slash")(scope, receive, send)
        elif repeated:  # a route would answer for the last without a word
            detail = f"query {repeated}: it is given several times; give one value, and ask once for each"
            await problem_answer(422, detail)(scope, receive, send)
        elif {"content-length", "transfer-encoding"} <= set(headers):  # a proxy may believe the other one
            said = "give Content-Length or Transfer-Encoding, not both"
            await problem_answer(400, said, _CLOSE)(scope, receive, send)
        elif (length := int(headers.get("content-length", "0"))) > MOST_BODY_BYTES:
            if length <= _MOST_DRAINED_BYTES and "expect" not in headers:
                await _drain(receive)
            await problem_answer(413, _TOO_LONG, _CLOSE)(scope, receive, send)
        else:
            await self.app(scope, _counted(receive), send)


def _counted(receive: Receive) -> Receive:
    """Raises HTTPException 413 in place of a message beyond the longest body."""
    taken = 0

    async def counted() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > MOST_BODY_BYTES:
            if message.get("more_body"):
                await _drain(receive)
            raise HTTPException(413, _TOO_LONG, _CLOSE)
        return message

    return counted


async def _drain(receive: Receive) -> None:
    """Take the rest of the body, up to a limit: what is closed with bytes in it is reset, and its answer lost."""
    left, has_more = _MOST_DRAINED_BYTES, True
    while has_more and left > 0:
        message = await receive()
        left -= len(message.get("body", b""))
        has_more = message.get("more_body", False)


@dataclass(frozen=True, slots=True)
class ETags:
    """An ETag for every whole answer to GET, and 304 in place of an answer that the client has already.

    The tag is a hash of the answer, so replicas give the same. It is weak: it also stands for the compressed answer.
    """

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        asked = Headers(scope=scope)
        start: Message | None = None  # waits for the body; a stream has no length, and never waits

        async def tagged(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                if message["status"] == 200 and "content-length" in Headers(raw=message["headers"]):
                    start = message
                    return
            elif start is not None:
                tag = f'"{hashlib.blake2b(message["body"], digest_size=12).hexdigest()}"'
                headers = MutableHeaders(scope=start)
                headers["ETag"] = f"W/{tag}"
                has = [entry.strip().removeprefix("W/") for entry in asked.get("if-none-match", "").split(",")]
                if tag in has or "*" in has:
                    start["status"], message = 304, {**message, "body": b""}
                    del headers["content-length"], headers["content-type"]
                await send(start)
            await send(message)

        await self.app(scope, receive, tagged)

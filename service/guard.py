"""What surrounds every request: the longest body, the headers of every answer, the allowed hosts, the figures."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.metrics import ServiceMetrics
from service.problems import problem

MOST_BODY_BYTES = 256 * 1024
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


class _TooLong(Exception):
    pass


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
        began, status, has_begun = time.perf_counter(), 500, False

        async def guarded(message: Message) -> None:
            nonlocal status, has_begun
            if message["type"] == "http.response.start":
                status, has_begun = message["status"], True
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._answer(scope, receive, guarded)
        except _TooLong:
            if not has_begun:
                await _too_long(scope, receive, guarded)
        finally:
            self.metrics.answered(scope, status, time.perf_counter() - began)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        host = headers.get("host", "").rpartition("@")[2]
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        if self.hosts and name not in self.hosts:
            said = f"this service has no tokens and answers only as {', '.join(self.hosts)}"
            await problem(421, said)(scope, receive, send)
            return
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MOST_BODY_BYTES:
            await _too_long(scope, receive, send)
            return
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > MOST_BODY_BYTES:
                raise _TooLong
            return message

        await self.app(scope, counted, send)


async def _too_long(scope: Scope, receive: Receive, send: Send) -> None:
    await problem(413, f"a request's body may have {MOST_BODY_BYTES} bytes", {"Connection": "close"})(
        scope, receive, send
    )

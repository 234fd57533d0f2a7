"""What surrounds every request: the longest body, the headers of every answer, the allowed hosts, the figures."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.metrics import ServiceMetrics
from service.problems import problem

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
        host = headers.get("host", "").rpartition("@")[2]
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        if self.hosts and name not in self.hosts:
            said = f"this service has no tokens and answers only as {', '.join(self.hosts)}"
            await problem(421, said)(scope, receive, send)
        elif b"%2f" in scope["raw_path"].lower():  # a proxy's rules take it for a part of a name
            await problem(404, "no address here has an encoded slash")(scope, receive, send)
        elif {"content-length", "transfer-encoding"} <= set(headers):  # a proxy may believe the other one
            said = "give Content-Length or Transfer-Encoding, not both"
            await problem(400, said, _CLOSE)(scope, receive, send)
        elif (length := int(headers.get("content-length", "0"))) > MOST_BODY_BYTES:
            if length <= _MOST_DRAINED_BYTES and "expect" not in headers:
                await _drain(receive)
            await problem(413, _TOO_LONG, _CLOSE)(scope, receive, send)
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

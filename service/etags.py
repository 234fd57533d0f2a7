"""An ETag for every whole answer to GET, and 304 in place of an answer that the client has already.

The tag is a hash of the answer, so replicas give the same. It is weak: it also stands for the compressed answer.
"""

import hashlib
from dataclasses import dataclass

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send


@dataclass(frozen=True, slots=True)
class ETags:
    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET":
            await self.app(scope, receive, send)
            return
        start: Message | None = None  # waits for the body; a stream has no length, and never waits

        async def tagged(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                if message["status"] == 200 and "content-length" in Headers(raw=message["headers"]):
                    start = message
                    return
            elif start is not None:
                message = _with_etag(start, message, Headers(scope=scope).get("if-none-match"))
                await send(start)
            await send(message)

        await self.app(scope, receive, tagged)


def _with_etag(start: Message, body: Message, if_none_match: str | None) -> Message:
    """Put the ETag into the start of an answer, or make it a 304. Gives the body to send."""
    tag = f'"{hashlib.blake2b(body["body"], digest_size=12).hexdigest()}"'
    headers = MutableHeaders(scope=start)
    headers["ETag"] = f"W/{tag}"
    if not _is_known(if_none_match, tag):
        return body
    start["status"] = 304
    del headers["content-length"], headers["content-type"]
    return {**body, "body": b""}


def _is_known(if_none_match: str | None, tag: str) -> bool:
    tags = [entry.strip().removeprefix("W/") for entry in (if_none_match or "").split(",")]
    return tag in tags or "*" in tags

"""Server-sent events: a line for every frame that is new, and for one that has become stale."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse

from service.problems import problems_of
from service.service import Service, TheCaller, TheService, json_bytes, known_caller, seen_by, token_of
from service.tokens import Caller

log = logging.getLogger(__name__)
LOOK_EVERY_S = 1.0
SIGN_OF_LIFE_S = 10.0  # the page tries another stream after 25 s without an event, and says so after 28
MOST_STREAMS = 200  # of a process
MOST_OF_A_TOKEN = 50
_COME_AGAIN = {"Retry-After": "10"}
router = APIRouter(prefix="/v1", tags=["scores"])


@dataclass(slots=True)
class Looks:
    """Wakes every stream after each look at the files."""

    streams: Counter[str] = field(default_factory=Counter)  # that are open, by the name of their token
    is_closing: bool = False
    fault: str = ""  # of the last look
    _looked: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def open(self) -> int:
        return self.streams.total()

    async def keep_looking(self, service: Service) -> None:
        """Look for ever: an error that nobody foresaw is logged, and `/health` says it until a look succeeds."""
        while True:
            try:
                await asyncio.to_thread(service.look)
                self.fault = ""
            except Exception as error:
                log.exception("the frames cannot be looked at: what is served gets old")
                self.fault = f"{type(error).__name__}: {error}"
            self.wake()
            await asyncio.sleep(LOOK_EVERY_S)

    def wake(self) -> None:
        self._looked.set()
        self._looked = asyncio.Event()

    def close(self) -> None:
        self.is_closing = True
        self.wake()

    async def next_look(self) -> None:
        await self._looked.wait()


@router.get(
    "/stream",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}, **problems_of(503)},
)
async def stream(request: Request, service: TheService, caller: TheCaller) -> StreamingResponse:
    """Events `frame`, with region, as_of, stale, model and digest: first of every region, then of each that changes.

    An event `alive` after ten seconds without another.
    """
    feed: Looks = request.app.state.feed
    if feed.open >= MOST_STREAMS:
        raise HTTPException(503, f"{MOST_STREAMS} streams are open, and no more can be", _COME_AGAIN)
    if feed.streams[caller.name] >= MOST_OF_A_TOKEN:
        said = f"{caller.name} has {MOST_OF_A_TOKEN} streams open, and no more can be: ask /v1/regions for what is new"
        raise HTTPException(429, said, _COME_AGAIN)
    token = token_of(request)
    lines = _events(feed, service, caller, lambda: known_caller(service, token) == caller)
    return StreamingResponse(lines, media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})


async def _events(
    feed: Looks,
    service: Service,
    caller: Caller,
    is_still_known: Callable[[], bool],
    now_s: Callable[[], float] = time.monotonic,
) -> AsyncIterator[bytes]:
    """Signs of life are events: the page's script hears no comment."""
    feed.streams[caller.name] += 1
    sent: dict[str, str] = {}
    said_s = now_s()
    try:
        while not feed.is_closing and is_still_known():
            for frames in seen_by(service, caller):
                now = service.now_of(frames)
                region = frames.by_category.spec.region
                if sent.get(region) != now.state:
                    sent[region], said_s = now.state, now_s()
                    yield b"event: frame\ndata: " + json_bytes(now.facts()) + b"\n\n"
            if now_s() - said_s >= SIGN_OF_LIFE_S:
                said_s = now_s()
                yield b"event: alive\ndata: {}\n\n"
            await feed.next_look()
    finally:
        feed.streams[caller.name] -= 1

"""Lets a job without events rest: the callback of an empty batch returns when there is something to do.

Spark would run a batch at every trigger, with or without an event, which is most of a core for nothing. Its batch stays
open meanwhile; it is repeated after a kill, like any other, and it is empty.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event
from typing import Literal

from schemas.left_behind.roster import Entry
from streaming.flow.rows import Published, Summary
from streaming.roster.roster import spec_of

LONGEST_S = 20.0  # two of them and their batches end before health asks for a sign of the store
_LOOK_S = 0.2  # for a stop, or another roster


@dataclass(slots=True, kw_only=True)
class Rest:
    """A watcher, the last one. comes: whether a message comes after those of a batch, within so many seconds."""

    clock: Literal["wall", "event"]
    comes: Callable[[int, float], bool]
    now_s: Callable[[], float] = time.time
    _roster: Mapping[str, Entry] = field(default_factory=dict)
    _ticks_s: Mapping[str, int] = field(default_factory=dict)  # by region
    _is_allowed: bool = False
    _has_news: Event = field(default_factory=Event)

    def take_roster(self, roster: Mapping[str, Entry]) -> None:
        """End a rest when the roster is another one."""
        if roster != self._roster:
            self._roster = dict(roster)
            self._ticks_s = {region: spec_of(entry.folder).tick_s for region, entry in roster.items()}
            self._has_news.set()

    @contextmanager
    def allowed(self) -> Iterator[None]:
        """Only meanwhile batches may rest: whoever stops the query must not wait for one."""
        self._is_allowed = True
        try:
            yield
        finally:
            self._is_allowed = False

    def after(self, published: Published) -> None:
        """Wait after a batch without messages and scores: until the next message, tick or roster, or LONGEST_S."""
        if published.frames or any(summary.ledger["consumed"] for summary in published.summaries.values()):
            return
        due_s = min([self.now_s() + LONGEST_S, *self._next_ticks_s(published.summaries)])
        while self._is_allowed and not self._has_news.is_set() and (left_s := due_s - self.now_s()) > 0:
            if self.comes(published.batch_id, min(left_s, _LOOK_S)):
                break
        self._has_news.clear()

    def _next_ticks_s(self, summaries: Mapping[str, Summary]) -> list[int]:
        """When each region is due after this batch, which may be past: the batch's own clock counts, not its end."""
        if self.clock == "event":
            return []
        of = [
            (summary.as_of_s, self._ticks_s[region]) for region, summary in summaries.items() if region in self._ticks_s
        ]
        return [as_of_s - as_of_s % tick_s + tick_s for as_of_s, tick_s in of]

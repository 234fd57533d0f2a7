"""Keeps the live map page up to date while the job runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from schemas.frame import RiskFrame
from streaming.flow.ledger import OUTCOMES_SHOWN
from streaming.flow.rows import Published
from streaming.watch.map_page import MapView, render, write_page


@dataclass(slots=True)
class MapWatch:
    """Writes the page after a batch, at most every `refresh_s`; `finish` marks it as no longer live."""

    path: Path
    clock: Literal["wall", "event"]
    refresh_s: float
    title: str
    now_s: Callable[[], float]
    _frames: dict[str, RiskFrame] = field(default_factory=dict)
    _ledger: dict[str, Mapping[str, int]] = field(default_factory=dict)
    _last_event_s: dict[str, int | None] = field(default_factory=dict)
    _written_s: float = 0.0

    def show(self, published: Published) -> None:
        self._frames |= published.frames
        for region, summary in published.summaries.items():
            self._ledger[region or "unassigned"] = {
                name: count for name in OUTCOMES_SHOWN if (count := summary.totals.get(name)) is not None
            }
            self._last_event_s[region] = summary.newest_event_s or None
        if published.done_s - self._written_s >= self.refresh_s:
            self._write(finished=False)

    def finish(self) -> None:
        self._write(finished=True)

    def _write(self, *, finished: bool) -> None:
        if not self._frames:
            return
        self._written_s = self.now_s()
        view = MapView(
            title=self.title,
            frames=tuple(frame for _, frame in sorted(self._frames.items())),
            written_at_s=int(self._written_s),
            clock=self.clock,
            refresh_s=self.refresh_s,
            ledger=self._ledger,
            last_event_s=self._last_event_s,
            finished=finished,
        )
        write_page(self.path, render(view))

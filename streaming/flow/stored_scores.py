"""Which points of a region's scores a batch writes: what a reader can see move. The rest waits for a pause.

One incident moves the level of its region, and with it the last digits of two thirds of all points. They are written
with the next batch that has no new scores of the region, at the latest when the minute ends. So a minute that has ended
is in the store to the last digit: also after a kill, by the frame that was left beside the job.
"""

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from schemas.errors import SinkError
from schemas.frame import RiskFrame
from schemas.left_behind.frame_file import frame_path, read_frames
from schemas.spec import DAY_S
from streaming.sinks.line_protocol import VALUES, changed, risk_lines

log = logging.getLogger(__name__)
VISIBLE = 0.02  # of a value: less waits


@dataclass(frozen=True, slots=True)
class StoredView:
    """A view of a region's scores. last: as it was published; in_store: as its minute's points are now."""

    last: RiskFrame
    in_store: RiskFrame | None  # None: not known

    @classmethod
    def new(cls, frame: RiskFrame) -> "StoredView":
        return cls(frame, None)

    @property
    def waits(self) -> bool:
        return self.in_store is not self.last

    def rest(self) -> tuple[bytes, "StoredView"]:
        """The points that wait, and what is stored then."""
        return risk_lines(self.last, changed(self.last, self.in_store)), StoredView(self.last, self.last)

    def then(self, frame: RiskFrame) -> tuple[bytes, "StoredView"]:
        """The points to write when `frame` comes next, and what is stored then."""
        if frame.tick_s != self.last.tick_s or frame.model != self.last.model or self.in_store is None:
            ended = self.rest()[0] if 0 < frame.tick_s - self.last.tick_s <= DAY_S else b""
            return ended + risk_lines(frame), StoredView(frame, frame)
        moved = changed(frame, self.in_store, least=VISIBLE)
        values = {name: np.where(moved, getattr(frame, name), getattr(self.in_store, name)) for name in VALUES}
        return risk_lines(frame, moved), StoredView(frame, replace(frame, **values))


def left_views(frames: Path, region: str) -> tuple[StoredView, StoredView] | None:
    """Both views of the frame that a job left before; None without one that can be read."""
    path = frame_path(frames, region)
    if not path.exists():
        return None
    try:
        left = read_frames(path)
    except SinkError as error:
        log.warning("%s; of its minute the store may stay up to %g behind", error, VISIBLE)
        return None
    return StoredView.new(left.by_category), StoredView.new(left.over_all)

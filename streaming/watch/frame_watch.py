"""Leaves the last published frame of each region as a file. A watcher, so only what the store has acknowledged."""

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from schemas.errors import SinkError
from schemas.left_behind.frame_file import write_frames
from streaming.flow.rows import Published

log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class FrameWatch:
    """A file that cannot be written grows old, and who serves it then says: stale. Scoring into the store goes on."""

    folder: Path
    clock: Literal["wall", "event"]
    _refused: set[str] = field(default_factory=set)  # regions whose last write failed

    def show(self, published: Published) -> None:
        for region, views in published.views.items():
            try:
                write_frames(self.folder, views, self.clock, published.changes.get(region))
            except SinkError as error:
                if region not in self._refused:
                    log.warning("%s; the service will say that the scores of %s are stale", error, region)
                self._refused.add(region)
            else:
                self._refused.discard(region)

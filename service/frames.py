"""The frames that are served: those of the folder that the job writes, read again when a file is replaced."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from schemas.errors import SinkError
from schemas.frame import RiskFrame
from schemas.instants import STAMP
from schemas.left_behind.frame_file import SUFFIX, StoredFrames, read_frames
from schemas.left_behind.withheld import read_withheld
from schemas.limits import EXPIRES_DAYS, MAX_REGIONS, OLDEST_SCORES_S
from schemas.spec import ALL_CATEGORIES, DAY_S, Spec

log = logging.getLogger(__name__)
_TICKS = 3  # that a region may miss before its scores are old, where a tick is longer than a minute
FileState = tuple[int, int, int]  # inode, size and time of a file


@dataclass(slots=True)
class Frames:
    """The newest whole frame of each region. `look` reads what has changed; the mapping is replaced, never altered."""

    folder: Path
    by_region: Mapping[str, StoredFrames] = field(default_factory=dict)
    unreadable: int = 0  # files that could not be used, since the start
    withheld: str = ""  # why no scores may be shown
    _seen: dict[Path, FileState] = field(default_factory=dict)

    def look(self) -> None:
        """A file that cannot be used leaves the frame before it, which grows old; one that is gone takes it away."""
        withheld = read_withheld(self.folder)
        self.withheld = withheld.in_words() if withheld else ""
        files = {path: file_state(path) for path in sorted(self.folder.glob(f"*{SUFFIX}"))[:MAX_REGIONS]}
        served = {
            region: frames for region, frames in self.by_region.items() if self.folder / (region + SUFFIX) in files
        }
        for path, stat in files.items():
            if stat is None or stat == self._seen.get(path):
                continue
            try:
                frames = read_frames(path)
            except SinkError as error:
                self.unreadable += 1
                log.warning("%s", error)
            else:
                served[frames.by_category.spec.region] = frames
        self._seen = {path: stat for path, stat in files.items() if stat}
        self.by_region = dict(sorted(served.items()))


def is_stale(frames: StoredFrames, now_s: float) -> bool:
    """Whether the scores are for a time too long ago, or ahead of this clock, as `health` and the pages judge it."""
    frame = frames.by_category
    return abs(now_s - frame.as_of_s) > max(OLDEST_SCORES_S, _TICKS * frame.spec.tick_s)


def expired(frame: RiskFrame) -> str | None:
    """That the version is so old that what was measured of it says little of the scores; None while it is not.

    A version's name begins with the time when it was made; that of the baseline alone does not.
    """
    try:
        made = datetime.strptime(frame.model.partition("-")[0], STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None
    days = int((frame.as_of_s - made.timestamp()) // DAY_S)
    return (
        f"the model was made {days} days ago, and what was measured of it says little of now"
        if days > EXPIRES_DAYS
        else None
    )


def view_of(frames: StoredFrames, category: str) -> tuple[RiskFrame, int] | None:
    """The view that has the category, and its place in it; None when there is no such category."""
    view = frames.over_all if category == ALL_CATEGORIES else frames.by_category
    return (view, view.categories.index(category)) if category in view.categories else None


def categories_of(spec: Spec) -> tuple[str, ...]:
    return (ALL_CATEGORIES, *spec.categories)


def file_state(path: Path) -> FileState | None:
    """What changes when a file does; None without one."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_ino, state.st_size, state.st_mtime_ns

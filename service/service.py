"""What one process serves: the frames of the folder that the job writes, each read again when its file is replaced."""

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
from fastapi.concurrency import run_in_threadpool

from models.readiness import Place
from schemas.areas import LONGITUDE_FIRST, Area, cells_inside, is_exchanged
from schemas.errors import ArtifactError, SinkError
from schemas.files import STAMP, FileState, file_state, instant_text
from schemas.fine import FineShares, read_shares, shares_beside
from schemas.frame import HOURS_KEPT, SUFFIX, RiskFrame, StoredFrames, hour_path, read_frames, read_hour
from schemas.grid import Cells, Grid
from schemas.languages import ENGLISH
from schemas.limits import EXPIRES_DAYS, MAX_REGIONS, OLDEST_SCORES_S
from schemas.records import read_withheld
from schemas.spec import ALL_CATEGORIES, DAY_S, HOUR_S, Spec
from service.answers import Facts
from service.basemap import Basemap
from service.tokens import Rates, Tokens

log = logging.getLogger(__name__)
_TICKS = 3  # that a region may miss before its scores are old, where a tick is longer than a minute
_LOOK_EVERY_S = 1.0
_MOST_KEPT_BYTES = 64 * 1024 * 1024
_NOT_KEPT = "no frame of it was kept"


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


@dataclass(frozen=True, slots=True)
class Now:
    """A region's frames, and whether they are stale at the time of a request."""

    frames: StoredFrames
    is_stale: bool
    withheld: str = ""  # why nobody may see them

    @property
    def spec(self) -> Spec:
        return self.frames.by_category.spec

    @property
    def state(self) -> str:
        return f"{self.frames.digest}{'-stale' if self.is_stale else ''}{self.withheld and f'-{self.withheld}'}"

    def facts(self) -> Facts:
        """What every answer says of where its numbers are from."""
        frame = self.frames.by_category
        return {
            "region": frame.spec.region,
            "as_of": instant_text(frame.as_of_s),
            "stale": self.is_stale,
            "withheld": self.withheld or None,
            "clock": self.frames.clock,
            "model": frame.model,
            "expired": expired(frame),
            "baseline_only": frame.baseline_only,
            "digest": self.frames.digest,
            "change": {"since": instant_text(self.frames.change_since_s), "says": self.frames.change}
            if self.frames.change and not self.withheld
            else None,
            "silent": [
                {
                    "category": feed.category,
                    "since": instant_text(feed.since_s),
                    "until": instant_text(feed.until_s) if feed.until_s else None,
                    "observed": feed.observed,
                    "usual": feed.usual,
                    "once_in_days": feed.days,
                }
                for feed in (() if self.withheld else frame.silent)
            ],
            "surges": [
                {
                    "category": surge.category,
                    "factors": {
                        name: round(factor, 3)
                        for name, factor in zip(frame.spec.horizon_names, surge.factors, strict=True)
                    },
                    "observed": surge.observed,
                    "usual": surge.usual,
                    "says": surge.in_words(),
                }
                for surge in (() if self.withheld else frame.surges)
            ],
        }

    def headers(self) -> dict[str, str]:
        as_of = instant_text(self.frames.by_category.as_of_s)
        return {"Risk-As-Of": as_of, "Risk-Stale": "true" if self.is_stale else "false"}


@lru_cache(maxsize=32)
def _hour(path: Path, state: FileState) -> StoredFrames | None:
    """The frames that an hour kept. A file that cannot be used is told once to the log."""
    try:
        return read_hour(path)
    except SinkError as error:
        log.warning("%s", error)
        return None


@dataclass(frozen=True, slots=True)
class HourTotals:
    """Of an hour's frame: incidents of the hour before, and what is usual in the next; (cells, categories) each."""

    as_of_s: int
    observed: npt.NDArray[np.int32]
    usual: npt.NDArray[np.float32]


@lru_cache(maxsize=600)
def hour_totals(path: Path, state: FileState, of: Spec) -> HourTotals | str:
    """Also of the region's other spec, or why there are none: the hour's frames need more memory than these."""
    hour = _hour(path, state)
    if hour is None:
        return "its file cannot be used: the log says why"
    frame = hour.by_category
    if any(getattr(frame.spec, name) != getattr(of, name) for name in ("grid", "categories", "horizons_s")):
        return "the region had another grid, other categories or other horizons"
    usual = frame.usual[:, :, 0] * np.float32(HOUR_S / of.horizons_s[0])
    return HourTotals(frame.as_of_s, frame.observed_1h, usual)


def stale_after_s(spec: Spec) -> int:
    """How old scores may be, as `health` and the pages judge it."""
    return max(OLDEST_SCORES_S, _TICKS * spec.tick_s)


def expired(frame: RiskFrame) -> str | None:
    """That the version is so old that what was measured of it says little of the scores; None while it is not.

    A version's name begins with the time when it was made; that of the baseline alone does not.
    """
    try:
        made = datetime.strptime(frame.model.partition("-")[0], STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None
    days = int((frame.as_of_s - made.timestamp()) // DAY_S)
    if days <= EXPIRES_DAYS:
        return None
    return f"the model was made {days} days ago, and what was measured of it says little of now"


def categories_of(spec: Spec) -> list[str]:
    return [ALL_CATEGORIES, *spec.categories]


@dataclass(slots=True)
class AnswerCache:
    """The answers that were used last, as many as fit into some memory: they are equal until the next frame."""

    most_bytes: int = _MOST_KEPT_BYTES
    answers: "OrderedDict[tuple[object, ...], bytes]" = field(default_factory=OrderedDict)
    _bytes: int = 0

    def get(self, key: tuple[object, ...], write: Callable[[], bytes]) -> bytes:
        answer = self.answers.get(key)
        if answer is None:
            answer = self.answers[key] = write()
            self._bytes += len(answer)
            while self._bytes > self.most_bytes and len(self.answers) > 1:
                self._bytes -= len(self.answers.popitem(last=False)[1])
        else:
            self.answers.move_to_end(key)
        return answer

    async def get_large(self, key: tuple[object, ...], write: Callable[[], bytes]) -> bytes:
        """The same; a thread writes it, so that other callers are answered meanwhile."""
        if key in self.answers:
            return self.get(key, write)
        answer = await run_in_threadpool(write)
        return self.get(key, lambda: answer)


@dataclass(slots=True, kw_only=True)
class Service:
    """One process of the service. Without tokens it answers this machine alone, and everybody on it.

    origins: of web apps that may read the answers in a browser.
    """

    frames: Frames
    now_s: Callable[[], float]
    rates: Rates
    audit: Path  # log in which decisions stand
    tokens: Tokens | None = None
    areas: Sequence[Area] = ()
    streets: Path | None = None
    stations: Sequence[Place] = ()
    basemap: Basemap | None = None
    language: str = ENGLISH  # of the pages; answers are in English
    origins: Sequence[str] = ()
    answers: AnswerCache = field(default_factory=AnswerCache)
    streams: Counter[str] = field(default_factory=Counter)  # that are open, by the name of their token
    fault: str = ""  # of the last look
    is_closing: bool = False
    _looked: asyncio.Event = field(default_factory=asyncio.Event)
    _left_out: set[str] = field(default_factory=set)  # areas that were said to have no cell

    @property
    def is_open(self) -> bool:
        return self.tokens is None

    def look(self) -> None:
        """Read what has changed: frames and tokens. Once of each area is said that no region with scores has it."""
        self.frames.look()
        if self.tokens is not None:
            self.tokens.look()
        grids = [frames.by_category.spec.grid for frames in self.frames.by_region.values()]
        here = set().union(*map(self.cells_of, grids))
        missing = [area for area in self.areas if grids and area.name not in here | self._left_out]
        self._left_out.update(area.name for area in missing)
        for area in missing:
            log.warning(
                "area %r is left out: no region with scores (%s) has the centre of a cell in it; %s",
                area.name,
                ", ".join(self.frames.by_region),
                LONGITUDE_FIRST
                if is_exchanged(area, grids)
                else "leave it out of --areas, or join it with a neighbour if it is smaller than a cell",
            )

    async def keep_looking(self) -> None:
        """Look for ever, and wake the streams. What nobody foresaw is logged: a fault until a look succeeds."""
        while True:
            try:
                await asyncio.to_thread(self.look)
                self.fault = ""
            except Exception as error:
                log.exception("the frames cannot be looked at: what is served gets old")
                self.fault = f"{type(error).__name__}: {error}"
            self._wake()
            await asyncio.sleep(_LOOK_EVERY_S)

    async def next_look(self) -> None:
        await self._looked.wait()

    def close(self) -> None:
        self.is_closing = True
        self._wake()

    def _wake(self) -> None:
        self._looked.set()
        self._looked = asyncio.Event()

    def now_of(self, frames: StoredFrames) -> Now:
        """Stale: for a time too long ago, or ahead of this clock."""
        age_s, spec = self.now_s() - frames.by_category.as_of_s, frames.by_category.spec
        return Now(frames, abs(age_s) > stale_after_s(spec), self.frames.withheld)

    def hours_of(self, now: Now) -> dict[int, HourTotals | str]:
        """The last day's hours, oldest first, by their beginning; or why one has no frame."""
        as_of_s = now.frames.by_category.as_of_s
        hours: dict[int, HourTotals | str] = {}
        for at_s in range(as_of_s - as_of_s % HOUR_S - HOURS_KEPT * HOUR_S, as_of_s + 1, HOUR_S):
            path = hour_path(self.frames.folder, now.spec.region, at_s)
            state = file_state(path)
            hours[at_s] = hour_totals(path, state, now.spec) if state else _NOT_KEPT
        return hours

    def at_hour(self, now: Now, at_s: int) -> Now | str:
        """What the region showed when that hour began, stale as it is not for now; or why nobody knows."""
        at_s -= at_s % HOUR_S
        if not 0 <= now.frames.by_category.as_of_s - at_s < (HOURS_KEPT + 1) * HOUR_S:
            return _NOT_KEPT
        path = hour_path(self.frames.folder, now.spec.region, at_s)
        state = file_state(path)
        if state is None:
            return _NOT_KEPT
        if isinstance(why := hour_totals(path, state, now.spec), str):
            return why
        hour = _hour(path, state)
        return Now(hour, True, now.withheld) if hour else "its file was replaced a moment ago"

    def shares_of(self, now: Now) -> FineShares | None:
        """Where inside its cells a region's incidents are; None where its version says nothing of it."""
        frame = now.frames.by_category
        if frame.spec.fine == 1 or frame.baseline_only:
            return None
        state = file_state(shares_beside(self.frames.folder, frame.spec.region, frame.model))
        return _shares(self.frames.folder, frame.spec, frame.model, state) if state else None

    def cells_of(self, grid: Grid) -> Mapping[str, Cells]:
        """The cells of each area that has some in the grid."""
        return _cells_of(tuple(self.areas), grid)


@lru_cache(maxsize=16)
def _shares(frames: Path, spec: Spec, version: str, state: FileState) -> FineShares | None:
    """A file that cannot be used is told once to the log."""
    try:
        return read_shares(frames, spec, version)
    except ArtifactError as error:
        log.warning("%s: the map of %s shows cells alone", error, spec.region)
        return None


@lru_cache(maxsize=256)
def _cells_of(areas: tuple[Area, ...], grid: Grid) -> Mapping[str, Cells]:
    by_name = {area.name: cells_inside(area, grid) for area in areas}
    return {name: cells for name, cells in by_name.items() if len(cells)}

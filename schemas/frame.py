"""A region's scores at one moment, as the model computes them and as they are shown and stored; and the last as a file.

    <frames>/chicago.frame                           32 hex digits of the body's hash, then the body in MessagePack
    <frames>/hours/chicago/20261125T060000Z.frame    the same of an hour's first frame, its body packed by zlib

The file is for those who read scores without the store. Its body has the spec, the time, the model, and the arrays of
both stored views: by category, and over all categories. It is replaced in one step, so a reader finds a whole pair or
the one before. Of the last day each hour keeps its first frame. `read_frames` and `read_hour` trust nothing in a file.
"""

import hashlib
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.errors import RiskError, SinkError
from schemas.files import replace_file, stamp, write_errors
from schemas.forecasts import FollowedChange
from schemas.grid import Grid
from schemas.limits import MAX_FRAME_BYTES, MAX_TIME_S
from schemas.spec import ALL_CATEGORIES, HOUR_S, Spec

SUPPORT = ("no_history", "sparse", "ok")  # the code in `RiskFrame.support` is the position here
BASELINE_MODEL = "baseline"
# The groups of features to which the network's part of a score is attributed: each is a factor on the usual number.
ATTRIBUTION_GROUPS: Mapping[str, str] = MappingProxyType(
    {
        "here": "recent counts here",
        "next_door": "recent counts next door",
        "level": "the region's level",
        "memory": "long memory",
        "time": "time of day and week",
        "network": "the network, all features at their mean",
        "following": "what the last weeks showed",
        "nowcast": "what the last hour showed",
    }
)
ATTRIBUTED_RANKS = 10  # of the riskiest cells, how many carry what made their scores


class Unusual(msgspec.Struct, frozen=True, kw_only=True):
    """A place with more incidents than usual: `rows` x `cols` cells, the south-western one at row and col."""

    category: str  # or ALL_CATEGORIES
    row: int
    col: int
    rows: int
    cols: int
    hours: int  # the last ones
    observed: int  # incidents in them
    usual: float
    days: float  # once in so many days chance alone shows as much somewhere in the region
    of_categories: dict[str, int] = {}  # incidents of each in it, where it is of ALL_CATEGORIES
    above: tuple[int, ...] = ()  # of its cells those with more than usual; none where nobody says which

    def cells(self, grid: Grid) -> npt.NDArray[np.int32]:
        """(cells,) in grid order."""
        rows, cols = np.arange(self.row, self.row + self.rows), np.arange(self.col, self.col + self.cols)
        return (rows[:, None] * grid.cols + cols).ravel().astype(np.int32)

    def middle(self, grid: Grid) -> str:
        """The geohash of the place's middle."""
        return grid.middle_of(self.row, self.col, self.rows, self.cols)

    def in_words(self, grid: Grid) -> str:
        """As `fire at r002c006 to r005c009: 20 instead of 1.8 in 2 h`."""
        cells = self.cells(grid).tolist()
        place = f"at {grid.cell_id(cells[0])}" + (f" to {grid.cell_id(cells[-1])}" if len(cells) > 1 else "")
        place = "in the whole region" if len(cells) == grid.cells else place
        mix = ", ".join(f"{category} {came}" for category, came in self.of_categories.items())
        mix = f" ({mix})" if mix else ""
        return f"{self.category} {place}: {self.observed} instead of {self.usual:.2g} in {self.hours} h{mix}"


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """A feed that brings nothing, or next to nothing: what is shown of it is a forecast, not what happens."""

    category: str  # or ALL_CATEGORIES
    since_s: int  # about its last incident before
    until_s: int = 0  # when it was back, some hours ago at most; 0: it is silent now
    observed: int  # incidents in that time
    usual: float
    days: float  # once in so many days chance alone shows as much

    def in_words(self, timezone: str) -> str:
        """As `fire since 3 Mar 14:05: 0 instead of 23`, in local time."""
        since, until = (datetime.fromtimestamp(at_s, ZoneInfo(timezone)) for at_s in (self.since_s, self.until_s))
        when = (
            f"from {since.day} {since:%b %H:%M} to {until:%H:%M}"
            if self.until_s
            else f"since {since.day} {since:%b %H:%M}"
        )
        return f"{self.category} {when}: {self.observed} instead of {self.usual:.3g}"


class Surge(msgspec.Struct, frozen=True, kw_only=True):
    """A category of which the last hours brought so much more than was expected that its forecast moves."""

    category: str
    factors: tuple[float, ...]  # on what is expected over each horizon, in every cell: 1 or more
    spreads: tuple[float, ...]  # standard deviation of each factor over the factor
    observed: int  # incidents in the last hour, in the whole region
    usual: float

    def in_words(self) -> str:
        """As `fire x3.4: 36 instead of 4.2 in the last hour`."""
        return f"{self.category} x{max(self.factors):.1f}: {self.observed} instead of {self.usual:.2g} in the last hour"


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskFrame:
    """Arrays are (cells, categories, horizons) unless said otherwise; cells in grid order (row * cols + col)."""

    spec: Spec
    as_of_s: int  # the region's clock, epoch seconds UTC
    model: str  # artifact version, or "baseline" / "baseline:<why the network did not answer>"
    expected: npt.NDArray[np.float32]  # incidents within the horizon from as_of
    risk: npt.NDArray[np.float32]  # probability of at least one, 0..1
    low: npt.NDArray[np.float32]  # 5 % quantile of the predictive count
    high: npt.NDArray[np.float32]  # 95 % quantile of the predictive count
    usual: npt.NDArray[np.float32]  # the baseline's expected
    observed_1h: npt.NDArray[np.int32]  # (cells, categories) incidents counted in the last hour
    support: npt.NDArray[np.uint8]  # (cells, categories) position in SUPPORT
    attribution: npt.NDArray[np.float32]  # (ranks, categories, horizons, ATTRIBUTION_GROUPS) of the `riskiest` cells
    is_sum: bool = False  # over the spec's categories: the one category is ALL_CATEGORIES
    unusual: tuple[Unusual, ...] = ()  # where more happens than usual, the least likely first
    silent: tuple[Silence, ...] = ()  # feeds that are silent, or were: that of all categories alone, or those of some
    surges: tuple[Surge, ...] = ()  # categories whose forecast the last hours move

    @property
    def categories(self) -> tuple[str, ...]:
        return (ALL_CATEGORIES,) if self.is_sum else self.spec.categories

    @property
    def tick_s(self) -> int:
        """Timestamp of the frame's points: as_of rounded down to the tick, so that a repeated batch overwrites."""
        return self.as_of_s - self.as_of_s % self.spec.tick_s

    @property
    def baseline_only(self) -> bool:
        """Whether no network scored the frame."""
        return is_baseline(self.model)

    def silent_of(self, category: str) -> list[Silence]:
        """The feeds that are silent now and that a category has a part in; all of them for ALL_CATEGORIES."""
        own = {feed.category for feed in self.silent} if category == ALL_CATEGORIES else {ALL_CATEGORIES, category}
        return [feed for feed in self.silent if feed.category in own and not feed.until_s]

    def surges_of(self, category: str) -> list[Surge]:
        """Those of a category; all of them for ALL_CATEGORIES."""
        return [surge for surge in self.surges if category in (ALL_CATEGORIES, surge.category)]

    def digest(self) -> str:
        """16 hex digits of all that is stored of the frame: equal digests mean equal frames, to the last bit."""
        seal = hashlib.blake2b(f"{self.as_of_s} {self.model}".encode(), digest_size=8)
        scores = (self.expected, self.risk, self.low, self.high, self.usual)
        for array in (*scores, self.observed_1h, self.support, self.attribution):
            seal.update(array.tobytes())
        for places in filter(None, (self.unusual, self.silent, self.surges)):
            seal.update(msgspec.msgpack.encode(places))
        return seal.hexdigest()


def is_baseline(model: str) -> bool:
    """Whether that is no network, of what is said to have scored."""
    return model.startswith(BASELINE_MODEL)


def riskiest(risk: npt.NDArray[np.float32], expected: npt.NDArray[np.float32], k: int) -> npt.NDArray[np.intp]:
    """The `k` cells with the highest risk, highest first; all of them when there are fewer. risk, expected: (cells,).

    Equal risks (it saturates at 1 in busy cells) are ordered by expected, then by cell.

    >>> riskiest(np.float32([0.2, 0.9, 0.9]), np.float32([0.1, 2, 3]), 2).tolist()
    [2, 1]
    """
    k = min(k, len(risk))
    floor = np.partition(risk, -k)[-k]
    cells = np.flatnonzero(risk >= floor)
    order = np.lexsort((-expected[cells], -risk[cells]))
    return cells[order[:k]]


SUFFIX = ".frame"
HOURS_KEPT = 24  # before the newest
_FORMAT = 7
_SEAL = 32  # hex digits before the body
_MOST_RAISED = 100.0  # times; far above what a nowcast gives
_LONGEST = 200  # characters of a text
_SCORES = ("expected", "risk", "low", "high", "usual")
_TYPES = {**dict.fromkeys((*_SCORES, "attribution"), "<f4"), "observed_1h": "<i4", "support": "u1"}
_WAIT = "the job's next frame replaces it; if it does not, look whether the job can write there"
_GOES = "that hour is missing on the map until the job deletes the file a day later; delete it sooner if you like"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFrames:
    """A region's last frame as it was stored. digest: of `by_category`, as in the log of batches.

    change, change_since_s: what forecasts follow, as `05 to 08 h x 1.9` in local hours, empty without one.
    """

    by_category: RiskFrame
    over_all: RiskFrame
    clock: Literal["wall", "event"]
    digest: str
    change: str
    change_since_s: int


class _Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: int
    clock: Literal["wall", "event"]
    spec: Spec
    as_of_s: int
    model: str
    change: str
    change_since_s: int
    by_category: dict[str, bytes]
    over_all: dict[str, bytes]
    unusual: tuple[Unusual, ...]
    silent: tuple[Silence, ...]
    surges: tuple[Surge, ...]


def frame_path(folder: Path, region: str) -> Path:
    return folder / f"{region}{SUFFIX}"


def write_frames(
    folder: Path,
    views: tuple[RiskFrame, RiskFrame],
    clock: Literal["wall", "event"],
    change: FollowedChange | None = None,
) -> None:
    """Replace the region's file. Raises SinkError when it cannot be written."""
    frame, over_all = views
    content = {
        "format": _FORMAT,
        "clock": clock,
        "spec": frame.spec.in_frame(),
        "as_of_s": frame.as_of_s,
        "model": frame.model,
        "change": change.says if change else "",
        "change_since_s": change.since_s if change else 0,
        "by_category": _packed(frame),
        "over_all": _packed(over_all),
        "unusual": frame.unusual,
        "silent": frame.silent,
        "surges": frame.surges,
    }
    body = msgspec.msgpack.encode(content)
    path = frame_path(folder, frame.spec.region)
    with write_errors(SinkError, path):
        replace_file(path, _seal(body) + body, outlives_power_cut=False)


def hour_path(folder: Path, region: str, at_s: int) -> Path:
    """Of the hour in which that time is."""
    return folder / "hours" / region / f"{stamp(at_s - at_s % HOUR_S)}{SUFFIX}"


def keep_hour(folder: Path, region: str, as_of_s: int) -> None:
    """Keep the region's file as that of its hour, unless the hour has one; older than a day, or ahead: deleted.

    They are deleted by their number, so that one wrong clock does not take the day. Raises SinkError.
    """
    path = hour_path(folder, region, as_of_s)
    if path.exists():
        return
    with write_errors(SinkError, path):
        body = zlib.compress(frame_path(folder, region).read_bytes()[_SEAL:], level=1)
        replace_file(path, _seal(body) + body, outlives_power_cut=False)  # no batch waits for the disk at a full hour
        hours = sorted(path.parent.glob(f"*{SUFFIX}"))
        now = hours.index(path) + 1
        for other in (*hours[: max(0, now - 1 - HOURS_KEPT)], *hours[now:]):
            other.unlink(missing_ok=True)


def read_frames(path: Path) -> StoredFrames:
    """The frames of a file. Raises SinkError for one that is no whole, plausible frame of the region in its name."""
    return _read(path, path.name.removesuffix(SUFFIX), _WAIT)


def read_hour(path: Path) -> StoredFrames:
    """The frames that an hour kept. Raises SinkError for a file that is not of the region and hour in its path."""
    hour = _read(path, path.parent.name, _GOES, is_packed=True)
    if hour_path(path.parents[2], path.parent.name, hour.by_category.as_of_s) != path:
        raise SinkError(f"{path} is of another hour", _GOES)
    return hour


def _read(path: Path, region: str, remedy: str, *, is_packed: bool = False) -> StoredFrames:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FRAME_BYTES + 1)
    except OSError as error:
        raise SinkError(f"{path} cannot be read ({error.strerror})", remedy) from error
    if len(content) > MAX_FRAME_BYTES:
        raise SinkError(f"{path} is larger than {MAX_FRAME_BYTES} bytes", remedy)
    seal, body = content[:_SEAL], content[_SEAL:]
    if seal != _seal(body):
        raise SinkError(f"{path} is damaged: its content does not fit its hash", remedy)
    try:
        body = zlib.decompressobj().decompress(body, MAX_FRAME_BYTES) if is_packed else body
        return _checked(msgspec.msgpack.decode(body, type=_Body), path, region)
    except SinkError:
        raise
    except (ValueError, RiskError, zlib.error) as error:
        raise SinkError(f"{path} is no frame that can be used ({error})", remedy) from error


def _checked(content: _Body, path: Path, owner: str) -> StoredFrames:
    """owner: the region whose file it is."""
    if content.format != _FORMAT:
        fault = f"{path} has format {content.format}, and this version reads {_FORMAT}"
        raise SinkError(fault, "let the job and who reads its frames be of one version")
    if (region := content.spec.region) != owner:
        fault = f"{path} is of region {region}, and so not the file of a job"
        raise SinkError(fault, f"delete it: no frame replaces it; the job writes {region}{SUFFIX}")
    if not 0 < content.as_of_s <= MAX_TIME_S:
        raise ValueError(f"its time {content.as_of_s} is no time")
    if not (content.model.isprintable() and 0 < len(content.model) <= _LONGEST):
        raise ValueError("its model has no name that can be shown")
    if not (content.change.isprintable() and len(content.change) <= _LONGEST):
        raise ValueError("its change has no words that can be shown")
    if not 0 <= content.change_since_s <= MAX_TIME_S:
        raise ValueError(f"the time {content.change_since_s} of its change is no time")
    spec = content.spec
    for place in content.unusual:
        inside = all(
            0 <= start < start + length <= most
            for start, length, most in (
                (place.row, place.rows, spec.grid.rows),
                (place.col, place.cols, spec.grid.cols),
            )
        )
        numbers = (place.hours, place.observed, place.usual, place.days, *place.of_categories.values())
        if not inside or not {place.category, *place.of_categories} <= {ALL_CATEGORIES, *spec.categories}:
            raise ValueError(f"what is unusual lies outside of the region: {place}")
        if not set(place.above) <= set(place.cells(spec.grid).tolist()):
            raise ValueError(f"what is unusual has a cell outside of its place: {place}")
        if not (np.isfinite(numbers).all() and min(numbers) >= 0):
            raise ValueError(f"what is unusual has a number outside of its range: {place}")
    for feed in content.silent:
        numbers = (feed.observed, feed.usual, feed.days)
        is_of_region = feed.category in (ALL_CATEGORIES, *spec.categories)
        is_time = all(0 <= at_s <= MAX_TIME_S for at_s in (feed.since_s, feed.until_s))
        if not (is_of_region and is_time and np.isfinite(numbers).all() and min(numbers) >= 0):
            raise ValueError(f"a feed that is silent cannot be of the region: {feed}")
    for surge in content.surges:
        numbers = (*surge.factors, *surge.spreads, surge.observed, surge.usual)
        lengths = {len(surge.factors), len(surge.spreads)}
        is_plausible = np.isfinite(numbers).all() and min(numbers) >= 0 and min(surge.factors, default=0) >= 1
        is_plausible &= 1 < max(surge.factors, default=0) <= _MOST_RAISED
        if surge.category not in spec.categories or lengths != {len(spec.horizons_s)} or not is_plausible:
            raise ValueError(f"a surge cannot be of the region: {surge}")
    if len({surge.category for surge in content.surges}) < len(content.surges):
        raise ValueError("a category surges twice")
    frame = _unpacked(content, content.by_category, is_sum=False)
    over_all = _unpacked(content, content.over_all, is_sum=True)
    return StoredFrames(
        by_category=frame,
        over_all=over_all,
        clock=content.clock,
        digest=frame.digest(),
        change=content.change,
        change_since_s=content.change_since_s,
    )


def _unpacked(content: _Body, packed: dict[str, bytes], *, is_sum: bool) -> RiskFrame:
    spec = content.spec
    places = (spec.grid.cells, 1 if is_sum else len(spec.categories))
    ranks = 0 if is_sum else min(ATTRIBUTED_RANKS, spec.grid.cells)
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(_SCORES, (*places, len(spec.horizons_s)))
    shapes |= dict.fromkeys(("observed_1h", "support"), places)
    shapes["attribution"] = (ranks, places[1], len(spec.horizons_s), len(ATTRIBUTION_GROUPS))
    if packed.keys() != shapes.keys():
        raise ValueError(f"it has the arrays {sorted(packed)}")
    arrays: dict[str, Any] = {name: _array(name, packed[name], shape) for name, shape in shapes.items()}
    return RiskFrame(
        spec=spec,
        as_of_s=content.as_of_s,
        model=content.model,
        is_sum=is_sum,
        unusual=content.unusual,
        silent=content.silent,
        surges=content.surges,
        **arrays,
    )


def _array(name: str, packed: bytes, shape: tuple[int, ...]) -> npt.NDArray[Any]:
    values = np.frombuffer(packed, _TYPES[name])
    if values.size != np.prod(shape):
        raise ValueError(f"{name} has {values.size} numbers, not those of {shape}")
    most = {"risk": 1, "support": len(SUPPORT) - 1}.get(name, np.inf)
    if not (np.isfinite(values).all() and (values >= 0).all() and (values <= most).all()):
        raise ValueError(f"{name} has a number outside of its range")
    return values.reshape(shape)


def _packed(frame: RiskFrame) -> dict[str, bytes]:
    return {name: getattr(frame, name).astype(kind).tobytes() for name, kind in _TYPES.items()}


def _seal(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=_SEAL // 2).hexdigest().encode()

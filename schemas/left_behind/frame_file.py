"""The last published frame of a region as one file, for those who read scores without the store.

    <frames>/chicago.frame    32 hex digits of the body's hash, then the body in MessagePack

The body has the spec, the time, the model, and the arrays of both stored views: by category, and over all categories. A
file is replaced in one step, so a reader finds a whole pair or the one before. `read_frames` trusts nothing in it.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.errors import RiskError, SinkError
from schemas.files import replace_file, write_errors
from schemas.frame import ATTRIBUTED_RANKS, ATTRIBUTION_GROUPS, SUPPORT, RiskFrame, Silence, Surge, Unusual
from schemas.left_behind.follower_states import FollowedChange
from schemas.limits import MAX_FRAME_BYTES, MAX_TIME_S
from schemas.spec import ALL_CATEGORIES, Spec

SUFFIX = ".frame"
_FORMAT = 7
_SEAL = 32  # hex digits before the body
_MOST_RAISED = 100.0  # times; far above what a nowcast gives
_LONGEST = 200  # characters of a text
_SCORES = ("expected", "risk", "low", "high", "usual")
_TYPES = {**dict.fromkeys((*_SCORES, "attribution"), "<f4"), "observed_1h": "<i4", "support": "u1"}
_WAIT = "the job's next frame replaces it; if it does not, look whether the job can write there"


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
    body = msgspec.msgpack.encode(
        _Body(
            format=_FORMAT,
            clock=clock,
            spec=frame.spec,
            as_of_s=frame.as_of_s,
            model=frame.model,
            change=change.says if change else "",
            change_since_s=change.since_s if change else 0,
            by_category=_packed(frame),
            over_all=_packed(over_all),
            unusual=frame.unusual,
            silent=frame.silent,
            surges=frame.surges,
        )
    )
    path = frame_path(folder, frame.spec.region)
    with write_errors(SinkError, path):
        replace_file(path, _seal(body) + body, outlives_power_cut=False)


def read_frames(path: Path) -> StoredFrames:
    """The frames of a file. Raises SinkError for one that is no whole, plausible frame of the region in its name."""
    content = _content(path)
    seal, body = content[:_SEAL], content[_SEAL:]
    if seal != _seal(body):
        raise SinkError(f"{path} is damaged: its content does not fit its hash", _WAIT)
    try:
        return _checked(msgspec.msgpack.decode(body, type=_Body), path)
    except SinkError:
        raise
    except (ValueError, RiskError) as error:
        raise SinkError(f"{path} is no frame that can be used ({error})", _WAIT) from error


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FRAME_BYTES + 1)
    except OSError as error:
        raise SinkError(f"{path} cannot be read ({error.strerror})", _WAIT) from error
    if len(content) > MAX_FRAME_BYTES:
        raise SinkError(f"{path} is larger than {MAX_FRAME_BYTES} bytes", _WAIT)
    return content


def _checked(content: _Body, path: Path) -> StoredFrames:
    if content.format != _FORMAT:
        fault = f"{path} has format {content.format}, and this version reads {_FORMAT}"
        raise SinkError(fault, "let the job and who reads its frames be of one version")
    if (region := content.spec.region) != path.name.removesuffix(SUFFIX):
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
    for place in content.unusual:
        _check_place(place, content.spec)
    for feed in content.silent:
        numbers = (feed.observed, feed.usual, feed.days)
        is_of_region = feed.category in (ALL_CATEGORIES, *content.spec.categories)
        is_time = all(0 <= at_s <= MAX_TIME_S for at_s in (feed.since_s, feed.until_s))
        if not (is_of_region and is_time and np.isfinite(numbers).all() and min(numbers) >= 0):
            raise ValueError(f"a feed that is silent cannot be of the region: {feed}")
    for surge in content.surges:
        _check_surge(surge, content.spec)
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


def _check_place(place: Unusual, spec: Spec) -> None:
    """Raises ValueError for one that cannot be of the region."""
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


def _check_surge(surge: Surge, spec: Spec) -> None:
    """Raises ValueError for one that cannot be of the region."""
    numbers = (*surge.factors, *surge.spreads, surge.observed, surge.usual)
    lengths = {len(surge.factors), len(surge.spreads)}
    is_plausible = np.isfinite(numbers).all() and min(numbers) >= 0 and min(surge.factors, default=0) >= 1
    is_plausible &= 1 < max(surge.factors, default=0) <= _MOST_RAISED
    if surge.category not in spec.categories or lengths != {len(spec.horizons_s)} or not is_plausible:
        raise ValueError(f"a surge cannot be of the region: {surge}")


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

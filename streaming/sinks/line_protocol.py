"""Scores as InfluxDB line protocol, in bytes: measurements `risk` and `top`, and single points of any other one.

Every number of a score is a float with four significant digits, in steps of 1e-6 below 0.001. That is more precise than
a forecast can be, and gives only 82,001 different strings. Arrow looks them up and joins them, so that a full frame of
27,648 lines needs a quarter of the time of a loop that formats each number.
"""

import math
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schemas.errors import PipelineError
from schemas.frame import ATTRIBUTION_GROUPS, SUPPORT, RiskFrame, riskiest
from schemas.spec import ALL_CATEGORIES, Spec

SMALLEST = 1e-6  # the step below 0.001; a value up to half of it is written as 0
LIMIT = 1e6  # incidents in one cell and horizon: a larger value is an error, not a forecast
VALUES = ("expected", "risk", "low", "high", "usual")  # the frame's fields per horizon, in the order written

Mask = npt.NDArray[np.bool_]
_Index = npt.NDArray[np.intp]

_DECADES = 10.0 ** np.arange(-2, 6)  # lower bounds of the decades, each with its own scale
_SCALES = 10.0 ** np.arange(6, -3, -1)  # value x scale has four digits before the decimal point
_REPORT = "go back to the previous artifact, and report this one"


def risk_lines(frame: RiskFrame, mask: Mask | None = None) -> bytes:
    """`risk` points, one line per cell, category and horizon, in that order; each ends with a newline.

    mask: (cells, categories, horizons), the points to write; without it, all of them. Tags: category, cell, geohash,
    horizon, region. Raises PipelineError when a value is not a finite number in its range.
    """
    points = np.arange(frame.risk.size) if mask is None else np.flatnonzero(mask)
    if len(points) == 0:
        return b""
    cell, category, horizon = np.unravel_index(points, frame.risk.shape)
    names = _tag_parts(frame.spec)
    parts = [
        _category_parts(frame.categories).take(pa.array(category)),
        names["cell"].take(pa.array(cell)),
        names["horizon"].take(pa.array(horizon)),
        *(_numbers(name).take(pa.array(_codes(frame, name, points))) for name in VALUES),
        _line_ends(frame, cell, category),
    ]
    _, _, text = pc.binary_join_element_wise(*parts, "").buffers()
    return bytes(text.to_pybytes())


def changed(frame: RiskFrame, previous: RiskFrame | None, *, least: float = 0.0) -> Mask:
    """Which points would be written differently from those of `previous`: (cells, categories, horizons).

    least: share of its value before by which a score must have moved; a count always tells. All of them when the tick,
    the model or the spec has changed, or when there is no previous frame.
    """
    if previous is None or (frame.tick_s, frame.model) != (previous.tick_s, previous.model):
        return np.ones(frame.risk.shape, np.bool_)
    if frame.spec != previous.spec:
        return np.ones(frame.risk.shape, np.bool_)
    counted = (frame.observed_1h != previous.observed_1h) | (frame.support != previous.support)
    differs = np.broadcast_to(counted[:, :, None], frame.risk.shape).copy()
    for name in VALUES:
        now, then = getattr(frame, name), getattr(previous, name)
        moved = np.flatnonzero((np.abs(now - then) > least * then) & ~differs)  # only these few are rounded
        differs.flat[moved] = _codes(frame, name, moved) != _codes(previous, name, moved)
    return differs


def top_lines(frame: RiskFrame, k: int) -> bytes:
    """`top` points: the `k` riskiest cells of each category and horizon, `rank` 01 first.

    `lift` is expected over usual, both at least SMALLEST, so that it is 1 in a cell where both are 0. The ranks that
    have an attribution carry the factors of their groups. Raises PipelineError as `risk_lines` does.
    """
    spec = frame.spec
    geohashes = _geohashes(spec)
    region, model = tag(spec.region), string(frame.model)
    lines = []
    for c, category in enumerate(frame.categories):
        for h, horizon in enumerate(spec.horizon_names):
            top = riskiest(frame.risk[:, c, h], frame.expected[:, c, h], k)
            points = np.ravel_multi_index((top, c, h), frame.risk.shape)
            lift = np.maximum(frame.expected[top, c, h], SMALLEST) / np.maximum(frame.usual[top, c, h], SMALLEST)
            shown = (
                _numbers(name).take(pa.array(_codes(frame, name, points))).to_pylist()
                for name in ("expected", "risk", "usual")
            )
            factors_of = [
                "".join(f",by_{name}={factor:.4g}" for name, factor in zip(ATTRIBUTION_GROUPS, factors, strict=True))
                for factors in frame.attribution[: len(top), c, h].tolist()
            ] + [""] * (len(top) - len(frame.attribution))
            head = f"top,category={tag(category)},horizon={horizon}"
            lines += [
                f"{head},rank={rank:02d},region={region} expected={expected}{risk}{usual},lift={ratio:.4g}{by},"
                f"cell={string(spec.grid.cell_id(cell))},geohash={string(geohashes[cell])},"
                f'support="{SUPPORT[frame.support[cell, c]]}",model={model} {frame.tick_s}\n'
                for rank, (cell, ratio, expected, risk, usual, by) in enumerate(
                    zip(top.tolist(), lift.tolist(), *shown, factors_of, strict=True), start=1
                )
            ]
    return "".join(lines).encode()


def unusual_lines(frame: RiskFrame) -> bytes:
    """`unusual` points: of each category its least likely place, and of `all` the least likely of any.

    `says`: the feeds that are silent or were, what raises the forecast, then the place; empty where nothing stands out.
    `raised`: the highest factor of a surge, 1 without one. `own_days`: of a place of
    the very category, so that of `all` of one of all together. `silent`: what is usual since a feed of it fell silent.
    """
    lines, grid = [], frame.spec.grid
    for category in (ALL_CATEGORIES, *frame.spec.categories):
        place = next((place for place in frame.unusual if category in (ALL_CATEGORIES, place.category)), None)
        own = next((place for place in frame.unusual if category == place.category), None)
        own_feeds = {ALL_CATEGORIES, category} if category != ALL_CATEGORIES else {*frame.categories, ALL_CATEGORIES}
        feeds = [feed for feed in frame.silent if feed.category in own_feeds]
        figures: dict[str, float | str] = dict.fromkeys(("days", "hours", "observed", "usual"), 0.0)
        if place:
            figures |= {name: getattr(place, name) for name in figures}
        says = [f"FEED {'WAS ' * bool(feed.until_s)}SILENT: {feed.in_words(frame.spec.timezone)}" for feed in feeds]
        surges = frame.surges_of(category)
        says += [f"forecast raised: {surge.in_words()}" for surge in surges]
        says += [place.in_words(grid)] if place else []
        figures |= {
            "own_days": own.days if own else 0.0,
            "silent": max((feed.usual for feed in feeds if not feed.until_s), default=0.0),
            "raised": max((max(surge.factors) for surge in surges), default=1.0),
            "says": "; ".join(says),
            "middle": place.middle(grid) if place else "",
            "model": frame.model,
        }
        tags = {"category": category, "region": frame.spec.region}
        lines.append(point_line("unusual", tags, figures, frame.tick_s))
    return b"".join(lines)


def point_line(
    measurement: str, tags: Mapping[str, str], fields: Mapping[str, float | int | str], tick_s: int
) -> bytes:
    """One point of another measurement: numbers as floats at full precision, texts as strings.

    Give the tags sorted by name. Raises PipelineError when there is no field or a number is not finite.
    """
    key = ",".join([measurement, *(f"{name}={tag(value)}" for name, value in tags.items())])
    if not fields:
        raise PipelineError(f"point {key} at {tick_s} has no field", remedy="give at least one")
    pairs = []
    for name, value in fields.items():
        if not isinstance(value, str) and not math.isfinite(value):
            raise PipelineError(f"point {key} at {tick_s}: {name}={value} is not a finite number", remedy=_REPORT)
        pairs.append(f"{tag(name)}={string(value) if isinstance(value, str) else repr(float(value))}")
    return f"{key} {','.join(pairs)} {tick_s}\n".encode()


def tag(text: str) -> str:
    """`text` as a tag value, tag key or field key. Raises PipelineError for a text that cannot be escaped."""
    if not text or "\\" in text or "\n" in text or "\r" in text:
        raise PipelineError(f"{text!r} cannot be a tag", remedy="use a name without backslash or line break")
    return text.replace(",", r"\,").replace("=", r"\=").replace(" ", r"\ ")


def string(text: str) -> str:
    """`text` as a quoted string field. Line breaks become spaces, so that a newline always ends a point."""
    flat = text.replace("\r", " ").replace("\n", " ")
    return '"' + flat.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _codes(frame: RiskFrame, name: str, points: _Index) -> _Index:
    """Positions in `_numbers` of the values at the flat positions `points`. Raises PipelineError for a wrong value."""
    values = getattr(frame, name).ravel()[points].astype(np.float64)
    valid = (values >= 0) & ((values <= 1) if name == "risk" else (values < LIMIT))  # False for NaN
    if not valid.all():
        first = np.flatnonzero(~valid)[0]
        cell, category, _ = np.unravel_index(points[first], frame.risk.shape)
        _refuse(frame, f"{name}={values[first]:.9g}", cell=int(cell), category=int(category))
    decade = np.searchsorted(_DECADES, values)
    codes: _Index = (np.rint(values * _SCALES[decade]) + 9000 * decade).astype(np.intp)
    return codes


@cache
def _numbers(name: str) -> Any:
    """Arrow strings `,name=number` (only the number for the first field), at the position of the number's code."""
    return _digits() if name == VALUES[0] else pc.binary_join_element_wise(f",{name}=", _digits(), "")


@cache
def _digits() -> Any:
    """Arrow strings of every number that can be written, by code: `0`, `0.000001` ... `1000000`.

    A code is a number of steps: of 1e-6 up to 0.01, then 9000 in each decade. So a number that is rounded up to the
    next decade has the code of that decade's first number.
    """
    low = np.arange(10_000) / 1e6
    decades = [np.arange(1000, 10_000) / scale for scale in _SCALES[1:]]
    numbers = np.concatenate([low, *decades, [LIMIT]]).tolist()
    return pa.array([f"{number:.6f}".rstrip("0").rstrip(".") for number in numbers])


def _line_ends(frame: RiskFrame, cell: _Index, category: _Index) -> Any:
    """The end of each line, after `usual`: observed_1h, support, time. Arrow strings, (points,)."""
    observed, support = frame.observed_1h[cell, category], frame.support[cell, category]
    invalid = np.flatnonzero((observed < 0) | (support >= len(SUPPORT)))
    if len(invalid):
        first = invalid[0]
        what = f"observed_1h={observed[first]}, support={support[first]}"
        _refuse(frame, what, cell=int(cell[first]), category=int(category[first]))
    kinds, kind = np.unique(observed.astype(np.int64) * len(SUPPORT) + support, return_inverse=True)
    ends = [
        f',observed_1h={kind // len(SUPPORT)},support="{SUPPORT[kind % len(SUPPORT)]}" {frame.tick_s}\n'
        for kind in kinds.tolist()
    ]
    return pa.array(ends).take(pa.array(kind))


def _refuse(frame: RiskFrame, what: str, *, cell: int, category: int) -> NoReturn:
    place = f"{frame.spec.region}, cell {frame.spec.grid.cell_id(cell)}, {frame.categories[category]}"
    raise PipelineError(
        f"{place}: {what} is outside of its range (model {frame.model}, time {frame.as_of_s}); nothing of the region "
        "was written",
        remedy=_REPORT,
    )


@lru_cache(maxsize=1024)
def _category_parts(categories: tuple[str, ...]) -> Any:
    """The beginning of a line by category, an Arrow array."""
    return pa.array([f"risk,category={tag(category)}," for category in categories])


@lru_cache(maxsize=1024)
def _tag_parts(spec: Spec) -> dict[str, Any]:
    """The two parts that follow, by cell and by horizon."""
    places = zip(spec.grid.cell_ids(), _geohashes(spec), strict=True)
    region = tag(spec.region)
    return {
        "cell": pa.array([f"cell={cell},geohash={geohash}," for cell, geohash in places]),
        "horizon": pa.array([f"horizon={name},region={region} {VALUES[0]}=" for name in spec.horizon_names]),
    }


@lru_cache(maxsize=1024)
def _geohashes(spec: Spec) -> list[str]:
    return spec.grid.geohashes()

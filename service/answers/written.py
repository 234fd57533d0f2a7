"""Scores of one category and horizon as JSON, GeoJSON or CSV, as a client accepts, written by Arrow.

A number is the shortest text that gives the same float32 when it is read: nothing is rounded, as it is for the store.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from starlette.exceptions import HTTPException

from schemas.frame import SUPPORT, RiskFrame
from schemas.grid import Cells, Grid
from streaming.sinks.line_protocol import SMALLEST

Format = Literal["json", "geojson", "csv"]
MEDIA_TYPES: Mapping[Format, str] = {
    "json": "application/json",
    "geojson": "application/geo+json",
    "csv": "text/csv; charset=utf-8",
}
_PLAIN: dict[str, Format] = {media.partition(";")[0]: name for name, media in MEDIA_TYPES.items()}
_ANY: dict[str, Format] = {"*/*": "json", "application/*": "json", "text/*": "csv"}
NUMBERS = ("expected", "usual", "risk", "low", "high")
COLUMNS = ("cell", "lat", "lon", *NUMBERS, "observed_1h", "support")


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is written: a view's category and horizon, by their places in it, and the cells."""

    view: RiskFrame
    category: int
    horizon: int
    cells: Cells

    def values(self, name: str) -> Any:
        """(cells,) of one of the frame's arrays."""
        array = getattr(self.view, name)[self.cells, self.category]
        return array[:, self.horizon] if array.ndim > 1 else array


def as_json(head: Mapping[str, Any], chosen: Chosen) -> bytes:
    """`head` with the rows as its last field, `cells`."""
    return _within(head, "cells", _join("{", *_members(_columns(chosen)), "}"))


def as_geojson(head: Mapping[str, Any], chosen: Chosen) -> bytes:
    """A FeatureCollection with `head` beside its features.

    A GIS shows properties alone: each feature also has lift, as_of and stale, and null where there is no history.
    """
    shapes = _places(chosen.view.spec.grid)["shape"].take(pa.array(chosen.cells))
    columns = {**_columns(chosen), "lift": _lift(chosen)}
    has_history = pa.array(chosen.values("support") > 0)
    for name in (*NUMBERS, "lift"):
        columns[name] = pc.if_else(has_history, columns[name], "null")
    dated = json.dumps({name: head[name] for name in ("as_of", "stale")}, separators=(",", ":"))[1:]
    start = ('{"type":"Feature","id":', columns["cell"], ',"geometry":', shapes, ',"properties":{')
    features = _join(*start, *_members(columns), f",{dated}}}")
    return _within({"type": "FeatureCollection", **head}, "features", features)


def as_csv(head: Mapping[str, Any], chosen: Chosen) -> bytes:
    """A line with the names of the columns, then one a cell; each repeats `head`, because a CSV has no other place."""
    names = ",".join((*COLUMNS, *head))
    tail = ",".join(_quoted(value) for value in head.values())
    parts: list[Any] = []
    for name, column in _columns(chosen).items():
        parts += [column, "," if name != COLUMNS[-1] else f",{tail}\r\n"]
    rows = _join(*parts).to_pylist() if len(chosen.cells) else []
    return (names + "\r\n" + "".join(rows)).encode()


def number(value: np.floating[Any]) -> float:
    """The shortest float that is the same float32 again."""
    return float(np.format_float_positional(value, unique=True, trim="0"))


def _members(columns: Mapping[str, Any]) -> list[Any]:
    parts: list[Any] = []
    for name, column in columns.items():
        parts += [f'{"," if parts else ""}"{name}":', column]
    return parts


def _columns(chosen: Chosen) -> dict[str, Any]:
    """Arrow strings of each of COLUMNS, as JSON has them."""
    places = _places(chosen.view.spec.grid)
    cells = pa.array(chosen.cells)
    return {
        **{name: places[name].take(cells) for name in ("cell", "lat", "lon")},
        **{name: _texts(chosen.values(name)) for name in NUMBERS},
        "observed_1h": pc.cast(pa.array(chosen.values("observed_1h")), pa.string()),
        "support": _support().take(pa.array(chosen.values("support"))),
    }


def _lift(chosen: Chosen) -> Any:
    """Expected over usual, as in the store's measurement `top`."""
    expected, usual = (np.maximum(chosen.values(name), SMALLEST) for name in ("expected", "usual"))
    return _texts(expected / usual)


def _texts(values: Any) -> Any:
    """The numbers as texts with a point or an exponent: GDAL takes a column for one of integers by its first rows."""
    texts = pc.cast(pa.array(values), pa.string())
    return pc.if_else(pc.match_substring_regex(texts, "[.e]"), texts, _join(texts, ".0"))


def _within(head: Mapping[str, Any], name: str, rows: Any) -> bytes:
    start = json.dumps(dict(head), separators=(",", ":"))[:-1]
    return f'{start},"{name}":[{",".join(rows.to_pylist())}]}}'.encode()


def _join(*parts: Any) -> Any:
    return pc.binary_join_element_wise(*parts, "")


@lru_cache(maxsize=256)
def _places(grid: Grid) -> dict[str, Any]:
    """Arrow strings of every cell: its id, its centre, its square as GeoJSON."""
    lat, lon = grid.centres()
    shapes = (feature["geometry"] for feature in grid.geojson()["features"])
    return {
        "cell": pa.array([f'"{cell}"' for cell in grid.cell_ids()]),
        "lat": pa.array([f"{y:.5f}" for y in lat.tolist()]),
        "lon": pa.array([f"{x:.5f}" for x in lon.tolist()]),
        "shape": pa.array([json.dumps(shape, separators=(",", ":")) for shape in shapes]),
    }


@lru_cache(maxsize=1)
def _support() -> Any:
    return pa.array([f'"{name}"' for name in SUPPORT])


def _quoted(value: object) -> str:
    """Lists and objects are written as JSON: a CSV has no form of its own for them."""
    text = "" if value in (None, []) else value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
    return '"' + text.replace('"', '""') + '"'


WRITERS = {"json": as_json, "geojson": as_geojson, "csv": as_csv}


def format_of(asked: Format | None, accept: str | None) -> Format:
    """The format by the parameter, else by the header Accept, its highest weight first. Raises 406 for neither."""
    if asked:
        return asked
    wanted = [_weighed(part) for part in (accept or "*/*").split(",")]
    for media, weight in sorted(wanted, key=lambda weighed: -weighed[1]):
        name = _PLAIN.get(media) or _ANY.get(media)
        if name and weight > 0:
            return name
    raise HTTPException(406, f"this address speaks {', '.join(_PLAIN)}, not {accept}")


def _weighed(part: str) -> tuple[str, float]:
    media, *parameters = (word.strip().lower() for word in part.split(";"))
    weights = [word.removeprefix("q=") for word in parameters if word.startswith("q=")]
    try:
        return media, float(weights[0]) if weights else 1.0
    except ValueError:
        return media, 0.0

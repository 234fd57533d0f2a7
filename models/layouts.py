"""Layouts: where incident files keep time, place and category."""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from schemas.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where an incident file keeps what we read. No other column is ever looked at."""

    name: str
    time_column: str  # of the interval's start, if there is an `end_column`
    lat_column: str
    lon_column: str
    category_column: str
    timezone: str  # IANA name, for times that carry no offset
    time_format: str | None = None  # as for strptime; None: ISO 8601
    category_until: str | None = None  # the category is the text before this mark
    delimiter: str = ","
    end_column: str | None = None  # incidents happened between `time_column` and this one
    header: tuple[str, ...] | None = None  # the columns' names, when the file's first line does not hold them


LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        layout.name: layout
        for layout in (
            Layout(
                name="chicago",
                time_column="time",
                lat_column="lat",
                lon_column="lon",
                category_column="category",
                timezone="America/Chicago",
                time_format="%m/%d/%Y %I:%M:%S %p",
                header=("time", "category", "lat", "lon"),
            ),
            Layout(
                name="montgomery",
                time_column="timeStamp",
                lat_column="lat",
                lon_column="lng",
                category_column="title",
                category_until=":",
                timezone="America/New_York",
            ),
            Layout(
                name="sample",
                time_column="occurred_at",
                lat_column="lat",
                lon_column="lon",
                category_column="category",
                timezone="America/Chicago",
            ),
        )
    }
)
LAYOUT_HELP = (
    f"{', '.join(LAYOUTS)}; or your file's columns, joined by commas: time=COLUMN lat=COLUMN lon=COLUMN "
    "category=COLUMN timezone=ZONE (start=COLUMN end=COLUMN in place of time= where only an interval is known), "
    "and where needed format=STRPTIME until=MARK delimiter=X header=a|b|c name=PREFIX; time=DATE+TIME joins two "
    "columns, and a part with a comma stands between double quotes"
)


_KEYS: Mapping[str, str] = MappingProxyType(
    {
        "name": "name",
        "time": "time_column",
        "start": "time_column",
        "end": "end_column",
        "lat": "lat_column",
        "lon": "lon_column",
        "category": "category_column",
        "timezone": "timezone",
        "format": "time_format",
        "until": "category_until",
        "delimiter": "delimiter",
        "header": "header",
    }
)


def parse_layout(text: str) -> Layout:
    """The layout of that name, or one written as `time=COLUMN,lat=COLUMN,lon=COLUMN,category=COLUMN,timezone=ZONE`.

    Where only an interval is known, `start=COLUMN,end=COLUMN` stands in place of `time=`.
    Also allowed there: `name=` (prefix of the incident ids, default `file`), `format=` (as for strptime; default
    ISO 8601), `until=` (mark that ends the category), `delimiter=` (`tab` for a tab), `header=a|b|c` (names of the
    columns of a file without a header line). Raises DataError for anything else.
    A part that holds a comma stands between double quotes: `"format=%b %d, %Y %H:%M"`. Where date and time of day have
    a column each, `time=DATE+TIME` joins them by a space.
    >>> parse_layout("time=When,lat=Y,lon=X,category=Kind,timezone=Europe/Berlin").time_column
    'When'
    """
    if text in LAYOUTS:
        return LAYOUTS[text]
    pairs = [part.partition("=") for part in next(csv.reader([text]), ())]
    given = {_KEYS[key]: value for key, _, value in pairs if key in _KEYS and value}
    needed = {"time_column", "lat_column", "lon_column", "category_column", "timezone"}
    times = {key for key, _, _ in pairs} & {"time", "start", "end"}
    if len(given) != len(pairs) or needed - set(given) or times not in ({"time"}, {"start", "end"}):
        raise DataError(
            f"{text!r} is no layout: name one of {', '.join(LAYOUTS)}, or write time=COLUMN,lat=COLUMN,lon=COLUMN,"
            f"category=COLUMN,timezone=ZONE (or start=COLUMN,end=COLUMN in place of time=) and, where needed, more of "
            f"{', '.join(_KEYS)}"
        )
    fields: dict[str, Any] = {"name": "file", **given}
    if "header" in fields:
        fields["header"] = tuple(fields["header"].split("|"))
    if fields.get("delimiter") == "tab":
        fields["delimiter"] = "\t"
    return Layout(**fields)

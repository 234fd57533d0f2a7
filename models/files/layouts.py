"""Layouts: where incident files keep time, place and category."""

import csv
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from schemas.errors import DataError

OWNERS_TERMS = "Terms: those of the file's owner."


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where an incident file keeps what we read. No other column is ever looked at."""

    name: str
    time_column: str  # of the interval's start, if there is an `end_column`
    lat_column: str
    lon_column: str
    category_column: str
    timezone: str  # IANA name, for times that carry no offset
    time_format: str | None = None  # as for strptime, or `epoch`, `epoch_ms`: seconds, ms since 1970; None: ISO 8601
    category_until: str | None = None  # the category is the text before this mark
    delimiter: str = ","
    end_column: str | None = None  # incidents happened between `time_column` and this one
    header: tuple[str, ...] | None = None  # the columns' names, when the file's first line does not hold them
    notice: str = OWNERS_TERMS  # stands on the card of every model that learned from such a file


_CHICAGO_NOTICE = (
    "This site provides applications using data that has been modified for use from its original source, "
    "www.cityofchicago.org, the official website of the City of Chicago. The City of Chicago makes no claims as to the "
    "content, accuracy, timeliness, or completeness of any of the data provided at this site."
)

_MONTGOMERY_NOTICE = (
    "Source: montcoalert, Montgomery County, Pennsylvania; ODbL 1.0 / DbCL. Counts made of it are a derived database, "
    "under ODbL 1.0 too."
)

# To add a layout: one entry here, with the notice that the file's owner asks for.
LAYOUTS: dict[str, Layout] = {
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
            notice=_CHICAGO_NOTICE,
        ),
        Layout(
            name="montgomery",
            time_column="timeStamp",
            lat_column="lat",
            lon_column="lng",
            category_column="title",
            category_until=":",
            timezone="America/New_York",
            notice=_MONTGOMERY_NOTICE,
        ),
        Layout(
            name="sample",
            time_column="occurred_at",
            lat_column="lat",
            lon_column="lon",
            category_column="category",
            timezone="America/New_York",
            notice=_MONTGOMERY_NOTICE,
        ),
    )
}
LAYOUT_HELP = (
    f"{', '.join(LAYOUTS)}; or your file's columns, joined by commas: time=COLUMN lat=COLUMN lon=COLUMN "
    "category=COLUMN timezone=ZONE (start=COLUMN end=COLUMN in place of time= where only an interval is known), "
    "and where needed format=STRPTIME (or epoch, epoch_ms) until=MARK delimiter=X header=a|b|c name=PREFIX; "
    "time=DATE+TIME joins two columns, and a part with a comma stands between double quotes"
)


_KEYS: Mapping[str, str] = {  # of a written layout -> field of Layout
    "name": "name",
    **{key: f"{key}_column" for key in ("time", "end", "lat", "lon", "category")},
    "start": "time_column",
    "timezone": "timezone",
    "format": "time_format",
    "until": "category_until",
    "delimiter": "delimiter",
    "header": "header",
}


def parse_layout(text: str) -> Layout:
    """The layout of that name, or one written as `time=COLUMN,lat=COLUMN,lon=COLUMN,category=COLUMN,timezone=ZONE`.

    LAYOUT_HELP has the other keys. Raises DataError for anything else.
    >>> parse_layout("time=When,lat=Y,lon=X,category=Kind,timezone=Europe/Berlin").time_column
    'When'
    """
    if text in LAYOUTS:
        return LAYOUTS[text]
    parts = next(csv.reader([text])) or [""]
    if faults := list(_faults(parts)):
        raise DataError(
            f"{text!r} is no layout ({'; '.join(faults)})",
            f"name one of {', '.join(LAYOUTS)}, or write time=COLUMN,"
            "lat=COLUMN,lon=COLUMN,category=COLUMN,timezone=ZONE (or start=COLUMN,end=COLUMN in place of time=) and, "
            f"where needed, more of {', '.join(_KEYS)}",
        )
    pairs = (part.partition("=") for part in parts)
    fields: dict[str, Any] = {"name": "file", **{_KEYS[key]: value for key, _, value in pairs}}
    if "header" in fields:
        fields["header"] = tuple(fields["header"].split("|"))
    if "delimiter" in fields:
        mark = "\t" if fields["delimiter"] in ("tab", "\\t") else fields["delimiter"]
        if len(mark) != 1 or mark in '"\r\n':
            remedy = "give the one character that separates the columns, or the word tab"
            raise DataError(f"delimiter={fields['delimiter']}", remedy)
        fields["delimiter"] = mark
    pattern = fields.get("time_format", "")
    codes = re.findall(r"%-?(.)", pattern)
    if "p" in codes and "I" not in codes:  # strptime would ignore AM and PM
        raise DataError(
            f"format={pattern}: %p (AM or PM) says nothing without %I", "write %I in place of %H, or drop %p"
        )
    if "I" in codes and "p" not in codes:
        raise DataError(f"format={pattern}: %I is half a day without %p", "add %p (AM or PM), or write %H for 0 to 23")
    return Layout(**fields)


def _faults(parts: list[str]) -> Iterator[str]:
    """What is wrong with the keys of a written layout, in words."""
    pairs = [part.partition("=") for part in parts]
    keys = [key for key, _, _ in pairs]
    for key, equals, value in pairs:
        if not equals:
            yield f"{key!r} is neither one of them nor KEY=VALUE"
        elif key not in _KEYS:
            yield f"the key {key!r} is unknown"
        elif not value:
            yield f"{key}= has no value"
    if not any(equals for _, equals, _ in pairs):
        return
    yield from (f"{key}= is given twice" for key, times in Counter(keys).items() if times > 1 and key in _KEYS)
    yield from (f"{key}= is missing" for key in ("lat", "lon", "category", "timezone") if key not in keys)
    times = {"time", "start", "end"} & set(keys)
    if not times:
        yield "time= is missing"
    elif "time" in times and len(times) > 1:
        yield "time= and start= or end= are both given"
    elif "time" not in times and len(times) == 1:
        yield f"{'end' if 'start' in times else 'start'}= is missing"

"""Incident files as columns: place, time and category of each incident, and nothing else of the file.

Two things stay as the file has them, and are counted, so that a caller can decide otherwise: rows that repeat each
other (two reports may share minute, place and category, and published figures count them), and rounded times. An
incident that is known only by an interval gets one time, drawn evenly inside it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.files.category_names import refuse_lost_names, slug
from models.files.file_checks import (
    SkippedRows,
    refuse_bad_places,
    refuse_bad_times,
    refuse_nothing_left,
    refuse_swapped,
)
from models.files.incident_rows import open_rows
from models.files.layouts import Layout
from models.files.written_times import Written, time_reader
from models.local_time import local_from_utc, utc_from_local
from schemas.errors import DataError
from schemas.limits import CLOCKS_DIFFER_S, MAX_CATEGORIES
from schemas.spec import DAY_S

MAX_INTERVAL_S = 7 * DAY_S  # in a longer one all hours of the week are equally likely
_YEAR_2100_S = 4_102_444_800
_NULL_ISLAND_DEG = 0.1  # open sea, 500 km from land: geocoders put there what they did not find
_LOST = "\N{REPLACEMENT CHARACTER}"  # stands for a byte that is not UTF-8
_NOT_UTF8 = "convert the file (iconv -f LATIN1 -t UTF-8): events name another category without these letters"
_WRITTEN = [("s", np.int64), ("has_offset", np.bool_)]  # see models.files.written_times.Written
_ROW = np.dtype(
    [("row", np.int64), ("start", _WRITTEN), ("end", _WRITTEN), ("lat", float), ("lon", float), ("category", object)]
)


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentTable:
    """A file's incidents in the order of time; incidents of one second keep the file's order.

    The numbers at the end are about the file as it was read: `select` leaves them as they are.
    """

    layout: str
    timezone: str
    occurred_s: npt.NDArray[np.int64]  # (n,) epoch seconds UTC
    lat_deg: npt.NDArray[np.float64]  # (n,)
    lon_deg: npt.NDArray[np.float64]  # (n,)
    category: npt.NDArray[np.int16]  # (n,) position in `categories`
    row: npt.NDArray[np.int64]  # (n,) row number in the file, from 1, a header line not counted
    categories: tuple[str, ...]  # slugs, sorted
    skipped: Mapping[str, int] = field(default_factory=dict)  # rows left out, by reason
    examples: Mapping[str, str] = field(default_factory=dict)  # the first of them, by reason: row and text
    exact_duplicates: int = 0  # rows that repeat an earlier row in all that we read; kept
    ambiguous_times: int = 0  # local times that the clock showed twice; the first is taken
    nonexistent_times: int = 0  # local times that the clock never showed; moved forward by the change
    out_of_order: int = 0  # rows earlier than the row before them
    whole_hours: int = 0  # local times at minute 00 and second 00; kept
    midnights: int = 0  # those of them at 00:00; kept
    uncertain_times: int = 0  # times drawn inside an interval
    repeated_calls: int = 0  # left out by `merge_repeated`
    masked: str = ""  # the digest of the masks whose incidents were left out
    is_of_counts: bool = False  # from an archive: at the start of a bin, in the middle of a cell, repeated calls merged
    # Ascending, since 1970: they say nothing of the city, so nothing is learned from them or judged by them
    cut_hours: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))

    def __len__(self) -> int:
        return len(self.occurred_s)

    def select(self, chosen: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> "IncidentTable":
        """The incidents at these ascending positions, or where this mask is true."""
        columns = ("occurred_s", "lat_deg", "lon_deg", "category", "row")
        return replace(self, **{name: getattr(self, name)[chosen] for name in columns})

    def incident_id(self, position: int) -> str:
        """The same id for the same row of the same file, whatever part of it is read."""
        return f"{self.layout}-{self.row[position]:07d}"


class _Unusable(Exception):
    """A row that gives no incident. Its arguments: the reason, then the texts that show it."""


def read_incidents(path: Path, layout: Layout, *, now_s: float | None = None) -> IncidentTable:
    """Read `path` (.csv, .csv.gz, or .zip with one .csv in it).

    Rows without a usable time, place or category are left out and counted by reason (`short_row`, `no_time`,
    `bad_time`, `before_1970`, `after_2100`, `no_place`, `bad_place`, `null_island`, `no_category`; of intervals also
    `bad_end`, `end_before_start`, `interval_too_long`: longer than MAX_INTERVAL_S), and the first of each is kept. An
    interval with an empty end is the time of its start; of another, a generator of seed 0 draws a time inside it. With
    `now_s`, what lies more than a few minutes after it is left out as `in_the_future`.
    Raises DataError when the file cannot be read in this layout, when more than MOST_BAD_TIMES of its times or
    MOST_BAD_PLACES of its places cannot, when latitude and longitude are exchanged, when a category is not UTF-8 or
    its slug would lose letters, or when nothing is left.
    """
    skipped = SkippedRows(path=path)
    rows = _usable_rows(path, layout, skipped)
    start_s, reading = _utc(rows["start"], layout.timezone)
    end_s, _ = _utc(rows["end"], layout.timezone)
    plausible = _plausible(start_s, end_s, now_s, skipped)
    if not plausible.any():
        refuse_nothing_left(skipped, layout.name)
    rows, start_s, end_s, reading = rows[plausible], start_s[plausible], end_s[plausible], reading[plausible]
    refuse_swapped(rows["lat"], rows["lon"], layout.timezone, int(start_s[0]), path)
    categories, category = _categories(rows["category"].tolist(), layout)
    table = IncidentTable(
        layout=layout.name,
        timezone=layout.timezone,
        occurred_s=start_s,
        lat_deg=rows["lat"],
        lon_deg=rows["lon"],
        category=category,
        row=rows["row"],
        categories=categories,
        skipped=dict(+skipped.counts),
        examples=skipped.examples,
        ambiguous_times=int((reading == 1).sum()),
        nonexistent_times=int((reading == -1).sum()),
    )
    return _sorted_table(table, end_s, np.random.default_rng(0))


def _usable_rows(path: Path, layout: Layout, skipped: SkippedRows) -> npt.NDArray[np.void]:
    """_ROW of each row with a time, a place and a category, in the file's order; the others are added to `skipped`.

    Raises DataError when too many have none, or names lose letters.
    """
    usable, names, read_time, number = [], set(), time_reader(layout), 0
    with open_rows(path, layout) as (select, rows):
        for number, fields in enumerate(rows, start=1):
            try:
                time, lat, lon, category, *end = select(fields)
                lat_deg, lon_deg = _place(lat, lon)
                start, until = _interval(read_time, time, *end)
                if layout.category_until is not None:
                    category = category.partition(layout.category_until)[0]
                if _LOST in category:
                    raise DataError(f"{path}, row {number}: the category {category!r} is not UTF-8", _NOT_UTF8)
                names.add(category)
                if not (name := slug(category)):
                    raise _Unusable("no_category", category)
            except IndexError:
                skipped.add("short_row", number)
            except _Unusable as unusable:
                skipped.add(unusable.args[0], number, *unusable.args[1:])
            else:
                usable.append((number, start, until, lat_deg, lon_deg, name))
    skipped.rows = number
    refuse_bad_places(skipped)
    refuse_bad_times(skipped)
    refuse_lost_names(names)
    return np.array(usable, _ROW)


def _place(lat_text: str, lon_text: str) -> tuple[float, float]:
    """Latitude and longitude in degrees."""
    try:
        lat, lon = float(lat_text), float(lon_text)
    except ValueError as error:
        if lat_text.strip() and lon_text.strip():
            raise _Unusable("bad_place", lat_text, lon_text) from error
        raise _Unusable("no_place") from error
    if not (-90 <= lat <= 90 and -180 <= lon <= 180):
        raise _Unusable("bad_place", lat_text, lon_text)
    if -_NULL_ISLAND_DEG < lat < _NULL_ISLAND_DEG and -_NULL_ISLAND_DEG < lon < _NULL_ISLAND_DEG:
        raise _Unusable("null_island", lat_text, lon_text)
    return lat, lon


def _interval(
    read_time: Callable[[str], Written | None], start_text: str, end_text: str = ""
) -> tuple[Written, Written]:
    """Start and end as written; the start twice where no end is given."""
    start = read_time(start_text)
    if start is None:
        raise _Unusable("bad_time", start_text) if start_text.strip() else _Unusable("no_time")
    if not 0 <= start[0] < _YEAR_2100_S:
        raise _Unusable("before_1970" if start[0] < 0 else "after_2100", start_text)
    if not end_text or not end_text.strip():
        return start, start
    end = read_time(end_text)
    if end is None or not 0 <= end[0] < _YEAR_2100_S:
        raise _Unusable("bad_end", end_text)
    return start, end


def _plausible(
    start_s: npt.NDArray[np.int64], end_s: npt.NDArray[np.int64], now_s: float | None, skipped: SkippedRows
) -> npt.NDArray[np.bool_]:
    """(n,) which intervals can be used; the others are added to `skipped`."""
    too_early, too_long = end_s < start_s, end_s - start_s > MAX_INTERVAL_S
    ahead = np.zeros(len(start_s), np.bool_) if now_s is None else end_s > now_s + CLOCKS_DIFFER_S
    skipped.counts["end_before_start"] += int(too_early.sum())
    skipped.counts["interval_too_long"] += int(too_long.sum())
    skipped.counts["in_the_future"] += int((ahead & ~too_early & ~too_long).sum())
    return ~(too_early | too_long | ahead)


def _categories(names: list[str], layout: Layout) -> tuple[tuple[str, ...], npt.NDArray[np.int16]]:
    """The names, sorted, each once, and the position of each row's name among them."""
    categories = tuple(sorted(set(names)))
    if len(categories) > MAX_CATEGORIES:
        raise DataError(
            f"column {layout.category_column!r} gives {len(categories)} categories "
            f"({', '.join(categories[:3])}, ...), at most {MAX_CATEGORIES} are allowed",
            remedy="name another column, or give until=, the mark that ends the category",
        )
    codes = {name: code for code, name in enumerate(categories)}
    return categories, np.array([codes[name] for name in names], np.int16)


def _utc(written: npt.NDArray[np.void], timezone: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int8]]:
    """(n,) epoch seconds, and (n,) how the clock read them (see `utc_from_local`); 0 for times with an offset."""
    utc_s, reading = utc_from_local(written["s"], timezone)
    has_offset = written["has_offset"]
    return np.where(has_offset, written["s"], utc_s), np.where(has_offset, np.int8(0), reading)


def _sorted_table(table: IncidentTable, end_s: npt.NDArray[np.int64], random: np.random.Generator) -> IncidentTable:
    """The table in the order of time, with its counts of odd times; before, `occurred_s` is the interval's start."""
    start_s = table.occurred_s
    columns = (start_s, end_s, table.lat_deg, table.lon_deg, table.category)
    by_all = np.lexsort(columns)
    repeats = np.logical_and.reduce([np.diff(column[by_all]) == 0 for column in columns])
    local_s = local_from_utc(start_s, table.timezone)
    drawn_s = draw_within(start_s, end_s, random)
    counted = replace(
        table,
        occurred_s=drawn_s,
        exact_duplicates=int(repeats.sum()),
        out_of_order=int((np.diff(start_s) < 0).sum()),
        whole_hours=int((local_s % 3600 == 0).sum()),
        midnights=int((local_s % DAY_S == 0).sum()),
        uncertain_times=int((end_s > start_s).sum()),
    )
    return counted.select(np.argsort(drawn_s, kind="stable"))


def draw_within(
    start_s: npt.NDArray[np.int64], end_s: npt.NDArray[np.int64], random: np.random.Generator
) -> npt.NDArray[np.int64]:
    """(n,) one whole second of each [start, end), all equally likely; the start where both are the same.

    start_s, end_s: (n,) epoch seconds, no end before its start. Counts need whole incidents, so each gets one time. In
    expectation a step then counts the incident's aoristic weight (Ratcliffe and McCullagh, IJGIS 12(7), 1998); the
    draw adds noise, which a second seed shows.
    """
    return np.asarray(start_s + random.integers(0, np.maximum(end_s - start_s, 1)))

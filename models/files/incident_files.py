"""Incident files as columns: place, time and category of each incident, and nothing else of the file.

Kept as the file has them, and counted, so that a caller can decide otherwise: rows that repeat each other (two reports
may share minute, place and category, and published figures count them), and rounded times. An incident whose layout
gives the interval in which it happened gets one time, drawn evenly inside it (models/files/aoristic.py).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from models.files.aoristic import MAX_INTERVAL_S, draw_within
from models.files.category_names import refuse_lost_names, slug
from models.files.file_checks import (
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

_YEAR_2100_S = 4_102_444_800
_LONGEST_SHOWN = 40  # characters of a text in a message
_NULL_ISLAND_DEG = 0.1  # open sea, 500 km from land: where geocoders put what they did not find
_LOST = "\N{REPLACEMENT CHARACTER}"  # what a byte that is no UTF-8 was read as


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
    skipped: Mapping[str, int]  # rows left out, by reason
    exact_duplicates: int  # rows that repeat an earlier row in all that we read; they are kept
    ambiguous_times: int  # local times that the clock showed twice; the first is taken
    nonexistent_times: int  # local times that the clock never showed; moved on by the change
    out_of_order: int = 0  # rows earlier than the row before them
    whole_hours: int = 0  # local times at minute 00 and second 00; kept
    midnights: int = 0  # of these, at 00:00; kept
    uncertain_times: int = 0  # times drawn inside an interval
    repeated_calls: int = 0  # left out by `merge_repeated`
    examples: Mapping[str, str] = field(default_factory=dict)  # of rows left out, by reason, the first: where and what

    def __len__(self) -> int:
        return len(self.occurred_s)

    def select(self, chosen: npt.NDArray[np.intp] | npt.NDArray[np.bool_]) -> "IncidentTable":
        """The incidents at these ascending positions, or where this mask is true."""
        return replace(
            self,
            occurred_s=self.occurred_s[chosen],
            lat_deg=self.lat_deg[chosen],
            lon_deg=self.lon_deg[chosen],
            category=self.category[chosen],
            row=self.row[chosen],
        )

    def incident_id(self, position: int) -> str:
        """The same id for the same row of the same file, whatever part of it is read."""
        return f"{self.layout}-{self.row[position]:07d}"


def read_incidents(
    path: Path, layout: Layout, *, now_s: float | None = None, random: np.random.Generator | None = None
) -> IncidentTable:
    """Read `path` (.csv, .csv.gz, or .zip with one .csv in it).

    Rows without a usable time, place or category are skipped and counted by reason (`short_row`, `no_time`, `bad_time`,
    `before_1970`, `after_2100`, `no_place`, `bad_place`, `null_island`, `no_category`; of intervals also `bad_end`,
    `end_before_start`, `interval_too_long`: longer than MAX_INTERVAL_S), and the first of each is kept. An interval
    whose end is empty is the time of its start. With `now_s`, what happened more than a few minutes after it is skipped
    as `in_the_future`. `random` draws the times inside intervals; without it, a generator of seed 0 does. Raises
    DataError when the file cannot be read as this layout, when more than MOST_BAD_TIMES of its times or MOST_BAD_PLACES
    of its places cannot, when latitude and longitude are exchanged, when a category is no UTF-8 or its slug would lose
    letters, or when nothing is left.
    """
    start: list[Written] = []
    end: list[Written] = []
    lat: list[float] = []
    lon: list[float] = []
    names: list[str] = []
    row: list[int] = []
    raw_names: set[str] = set()
    skipped: Counter[str] = Counter()
    examples: dict[str, str] = {}

    def skip(reason: str, number: int, *text: str) -> None:
        skipped[reason] += 1
        if reason not in examples:
            examples[reason] = " ".join([f"row {number}", *(repr(one[:_LONGEST_SHOWN]) for one in text)])

    number = 0
    read_time = time_reader(layout)
    with open_rows(path, layout) as (select, rows):
        for number, fields in enumerate(rows, start=1):
            try:
                time_text, lat_text, lon_text, name, *end_text = select(fields)
            except IndexError:
                skip("short_row", number)
                continue
            if not lat_text.strip() or not lon_text.strip():
                skip("no_place", number)
                continue
            try:
                place = float(lat_text), float(lon_text)
            except ValueError:
                place = (float("nan"), float("nan"))
            if not (-90 <= place[0] <= 90 and -180 <= place[1] <= 180):
                skip("bad_place", number, lat_text, lon_text)
                continue
            if max(abs(place[0]), abs(place[1])) < _NULL_ISLAND_DEG:
                skip("null_island", number, lat_text, lon_text)
                continue
            if not time_text.strip():
                skip("no_time", number)
                continue
            when = read_time(time_text)
            if when is None or not 0 <= when[0] < _YEAR_2100_S:
                reason = "bad_time" if when is None else "before_1970" if when[0] < 0 else "after_2100"
                skip(reason, number, time_text)
                continue
            until = read_time(end_text[0]) if end_text and end_text[0].strip() else when
            if until is None or not 0 <= until[0] < _YEAR_2100_S:
                skip("bad_end", number, *end_text)
                continue
            if layout.category_until is not None:
                name = name.partition(layout.category_until)[0]
            if _LOST in name:
                raise DataError(
                    f"{path}, row {number}: the category {name!r} is not UTF-8, and without its letters it would be "
                    "another category than the one in the events: convert the file (iconv -f LATIN1 -t UTF-8)"
                )
            raw_names.add(name)
            if not slug(name):
                skip("no_category", number, name)
                continue
            start.append(when)
            end.append(until)
            lat.append(place[0])
            lon.append(place[1])
            names.append(slug(name))
            row.append(number)
    refuse_bad_places(skipped, examples, number, path)
    refuse_bad_times(skipped, examples, number, path)
    refuse_lost_names(raw_names)
    (start_s, reading), (end_s, _) = (_utc(written, layout.timezone) for written in (start, end))
    too_early, too_long = end_s < start_s, end_s - start_s > MAX_INTERVAL_S
    skipped.update({"end_before_start": int(too_early.sum()), "interval_too_long": int(too_long.sum())})
    ahead = np.zeros(len(start_s), np.bool_) if now_s is None else end_s > now_s + CLOCKS_DIFFER_S
    skipped.update({"in_the_future": int((ahead & ~too_early & ~too_long).sum())})
    kept = np.flatnonzero(~too_early & ~too_long & ~ahead)
    reasons = {reason: count for reason, count in skipped.items() if count}
    if not len(kept):
        refuse_nothing_left(reasons, examples, number, layout.name, path)
    refuse_swapped(np.array(lat)[kept], np.array(lon)[kept], layout.timezone, int(start_s[kept[0]]), path)
    kept_names = [names[position] for position in kept.tolist()]
    categories = _categories(kept_names, layout)
    codes = {name: code for code, name in enumerate(categories)}
    return _sorted_table(
        IncidentTable(
            layout=layout.name,
            timezone=layout.timezone,
            occurred_s=start_s[kept],
            lat_deg=np.array(lat)[kept],
            lon_deg=np.array(lon)[kept],
            category=np.array([codes[name] for name in kept_names], np.int16),
            row=np.array(row, np.int64)[kept],
            categories=categories,
            skipped=MappingProxyType(reasons),
            examples=MappingProxyType(examples),
            exact_duplicates=0,
            ambiguous_times=int((reading[kept] == 1).sum()),
            nonexistent_times=int((reading[kept] == -1).sum()),
        ),
        end_s[kept],
        np.random.default_rng(0) if random is None else random,
    )


def _categories(names: list[str], layout: Layout) -> tuple[str, ...]:
    categories = tuple(sorted(set(names)))
    if len(categories) > MAX_CATEGORIES:
        raise DataError(
            f"column {layout.category_column!r} gives {len(categories)} categories ({categories[:3]}, ...), at most "
            f"{MAX_CATEGORIES}: name another column, or the mark that ends the category"
        )
    return categories


def _utc(written: list[Written], timezone: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int8]]:
    """(n,) epoch seconds, and (n,) how the clock read them (see `utc_from_local`); 0 for times with an offset."""
    seconds, has_offset = np.array(written, np.int64).reshape(-1, 2).T
    utc_s, reading = utc_from_local(seconds, timezone)
    return np.where(has_offset, seconds, utc_s), np.where(has_offset, np.int8(0), reading)


def _sorted_table(table: IncidentTable, end_s: npt.NDArray[np.int64], random: np.random.Generator) -> IncidentTable:
    """The table in the order of time, with what there is to count in it; `occurred_s` was the interval's start."""
    start_s = table.occurred_s
    read = (start_s, end_s, table.lat_deg, table.lon_deg, table.category)
    by_all = np.lexsort(read)
    repeats = np.logical_and.reduce([np.diff(column[by_all]) == 0 for column in read])
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

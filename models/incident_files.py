"""Incident files as columns: place, time and category of each incident, and nothing else of the file.

Kept as the file has them: rows that repeat each other (two reports may share minute, place and category, and
published figures count them). They are counted in `exact_duplicates`, so that a caller can decide otherwise.
"""

import csv
import gzip
import io
import re
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, lru_cache
from operator import itemgetter
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from models.layouts import Layout
from models.local_time import utc_from_local, zone_of
from schemas.errors import DataError

MAX_CATEGORIES = 64
_YEAR_2100_S = 4_102_444_800
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - wall-clock times are counted from a wall-clock epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class IncidentTable:
    """A file's incidents in the order of time; incidents of one second keep the file's order."""

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

    def __len__(self) -> int:
        return len(self.occurred_s)

    def incident_id(self, position: int) -> str:
        """The same id for the same row of the same file, whatever part of it is read."""
        return f"{self.layout}-{self.row[position]:07d}"


def read_incidents(path: Path, layout: Layout) -> IncidentTable:
    """Read `path` (.csv, .csv.gz, or .zip with one .csv in it).

    Rows without a usable time, place or category are skipped and counted by reason (`short_row`, `bad_time`,
    `before_1970`, `after_2100`, `bad_place`, `no_category`). Raises DataError when the file
    cannot be read as this layout, or when nothing is left.
    """
    seconds: list[int] = []
    aware: list[bool] = []
    lat: list[float] = []
    lon: list[float] = []
    names: list[str] = []
    row: list[int] = []
    skipped: Counter[str] = Counter()
    read_time = _time_reader(layout)
    with _table(path, layout) as (select, rows):
        for number, fields in enumerate(rows, start=1):
            try:
                time_text, lat_text, lon_text, name = select(fields)
            except IndexError:
                skipped["short_row"] += 1
                continue
            try:
                place = float(lat_text), float(lon_text)
            except ValueError:
                place = (float("nan"), float("nan"))
            if not (-90 <= place[0] <= 90 and -180 <= place[1] <= 180):
                skipped["bad_place"] += 1
                continue
            when = read_time(time_text)
            if when is None or not 0 <= when[0] < _YEAR_2100_S:
                skipped["bad_time" if when is None else "before_1970" if when[0] < 0 else "after_2100"] += 1
                continue
            if layout.category_until is not None:
                name = name.partition(layout.category_until)[0]
            if not slug(name):
                skipped["no_category"] += 1
                continue
            seconds.append(when[0])
            aware.append(when[1])
            lat.append(place[0])
            lon.append(place[1])
            names.append(slug(name))
            row.append(number)
    if not seconds:
        raise DataError(
            f"{path} gives no incident in layout {layout.name!r} (skipped: {dict(skipped) or 'no rows'}): "
            "check the layout's columns and time format"
        )
    return _sorted_table(layout, seconds, aware, lat, lon, names, row, skipped)


@lru_cache(maxsize=4096)
def slug(name: str) -> str:
    """`CRIMINAL DAMAGE` -> `criminal_damage`: lower case, accents dropped, runs of anything else become one `_`."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9-]+", "_", plain.lower()).strip("_-")[:63]


def _sorted_table(
    layout: Layout,
    seconds: list[int],
    aware: list[bool],
    lat: list[float],
    lon: list[float],
    names: list[str],
    row: list[int],
    skipped: Mapping[str, int],
) -> IncidentTable:
    categories = tuple(sorted(set(names)))
    if len(categories) > MAX_CATEGORIES:
        raise DataError(
            f"column {layout.category_column!r} gives {len(categories)} categories ({categories[:3]}, ...), at most "
            f"{MAX_CATEGORIES}: name another column, or the mark that ends the category"
        )
    codes = {name: code for code, name in enumerate(categories)}
    written_s = np.array(seconds, np.int64)
    utc_s, reading = utc_from_local(written_s, layout.timezone)
    has_offset = np.array(aware)
    occurred_s = np.where(has_offset, written_s, utc_s)
    order = np.argsort(occurred_s, kind="stable")
    columns = (
        occurred_s[order],
        np.array(lat)[order],
        np.array(lon)[order],
        np.array([codes[name] for name in names], np.int16)[order],
    )
    by_all = np.lexsort(columns)
    repeats = np.logical_and.reduce([np.diff(column[by_all]) == 0 for column in columns])
    return IncidentTable(
        layout=layout.name,
        timezone=layout.timezone,
        occurred_s=columns[0],
        lat_deg=columns[1],
        lon_deg=columns[2],
        category=columns[3],
        row=np.array(row, np.int64)[order],
        categories=categories,
        skipped=MappingProxyType(dict(skipped)),
        exact_duplicates=int(repeats.sum()),
        ambiguous_times=int(((reading == 1) & ~has_offset).sum()),
        nonexistent_times=int(((reading == -1) & ~has_offset).sum()),
    )


def _time_reader(layout: Layout) -> Callable[[str], tuple[int, bool] | None]:
    """Text -> (epoch seconds, True) for a time with an offset, (wall-clock seconds, False) for one without.

    None for what is no time. Dates and times of day recur, so where the format is `date clock` each is parsed once:
    eight times as fast as strptime on every row.
    """
    zone_of(layout.timezone)
    pattern = layout.time_format
    if pattern is None:
        return lambda text: _parse(datetime.fromisoformat, text)
    split = re.fullmatch(r"(\S*%[yY]\S*) ((?:%[HIMSpf]|[^%])+)", pattern)
    if split is None:
        return lambda text: _parse(lambda one: datetime.strptime(one, pattern), text)  # noqa: DTZ007
    date_pattern, clock_pattern = split[1], "%Y-" + split[2]
    parse_date = cache(lambda text: _parse(lambda one: datetime.strptime(one, date_pattern), text))  # noqa: DTZ007
    parse_clock = cache(lambda text: _parse(lambda one: datetime.strptime(one, clock_pattern), text))  # noqa: DTZ007

    def read(text: str) -> tuple[int, bool] | None:
        date_text, _, clock_text = text.partition(" ")
        date, clock = parse_date(date_text), parse_clock("1970-" + clock_text)
        return None if date is None or clock is None else (date[0] + clock[0], False)

    return read


def _parse(parse: Callable[[str], datetime], text: str) -> tuple[int, bool] | None:
    try:
        when = parse(text)
        is_aware = when.tzinfo is not None
        passed = when.astimezone(UTC).replace(tzinfo=None) - _EPOCH if is_aware else when - _EPOCH
    except (ValueError, OverflowError):
        return None
    return passed.days * 86_400 + passed.seconds, is_aware


@contextmanager
def _table(path: Path, layout: Layout) -> Iterator[tuple[Callable[[list[str]], tuple[str, ...]], Iterator[list[str]]]]:
    """A function that takes the layout's four fields out of a row, and the file's rows."""
    try:
        with _open_text(path) as text:
            rows = csv.reader(text, delimiter=layout.delimiter)
            header = list(layout.header or next(rows, ()))
            wanted = (layout.time_column, layout.lat_column, layout.lon_column, layout.category_column)
            missing = [name for name in wanted if name not in header]
            if missing:
                raise DataError(f"{path} has no column {missing}, but {header[:20]}: name the columns of this file")
            yield itemgetter(*(header.index(name) for name in wanted)), rows
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, csv.Error) as error:
        raise DataError(f"{path} cannot be read ({error}): give a .csv, .csv.gz or .zip with one .csv") from error


@contextmanager
def _open_text(path: Path) -> Iterator[io.TextIOBase]:
    """Bytes that are no UTF-8 are replaced: they can only stand in columns that we do not read."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            members = [name for name in archive.namelist() if name.lower().endswith(".csv")]
            if len(members) != 1:
                raise DataError(f"{path} holds {len(members)} .csv files ({members[:5]}): unpack it and name one")
            with archive.open(members[0]) as raw:
                yield io.TextIOWrapper(raw, encoding="utf-8-sig", errors="replace", newline="")
    else:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as raw:
            yield io.TextIOWrapper(raw, encoding="utf-8-sig", errors="replace", newline="")

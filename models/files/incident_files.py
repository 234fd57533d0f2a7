"""Incident files as columns: place, time and category of each incident, and nothing else of the file.

Two things stay as the file has them, and are counted, so that a caller can decide otherwise: rows that repeat each
other (two reports may share minute, place and category, and published figures count them), and rounded times. An
incident that is known only by an interval gets one time, drawn evenly inside it.
"""

import csv
import gzip
import io
import lzma
import re
import unicodedata
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from operator import itemgetter
from pathlib import Path
from typing import IO, NoReturn, cast

import numpy as np
import numpy.typing as npt

from models.counting.count_registry import Calls, repeats
from models.files.layouts import Layout
from models.local_time import local_from_utc, utc_from_local, zone_of
from schemas.decode import incident_keys
from schemas.errors import DataError
from schemas.incidents import NO_PLACE, fixed_places
from schemas.limits import CLOCKS_DIFFER_S, MAX_CATEGORIES
from schemas.spec import DAY_S, Spec

_LATIN = "events name a category by a-z, 0-9, - and _: give a column of codes, or of names in Latin letters"
Written = tuple[int, bool]  # epoch seconds and True for a time with an offset, wall-clock seconds and False without
EPOCHS = {"epoch": 1, "epoch_ms": 1000}  # time_format -> its units in a second
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - wall-clock times are counted from a wall-clock epoch
MOST_BAD_TIMES = 0.05  # of the rows; a wrong format still reads those whose day and month can be exchanged
MOST_BAD_PLACES = 0.05  # of the rows
_EPOCH_TEXT = re.compile(r"'(\d{9,10}|\d{12,13})(\.\d*)?'")
_EXCHANGED = re.compile(r"'(-?\d{2,3}\.?\d*)' '(-?\d{1,2}\.?\d*)'$")  # texts of latitude and longitude
_DATES = ("%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%Y/%m/%d", "%Y-%m-%d", "%Y%m%d", "%d-%b-%Y", "%b %d %Y")
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p", " %H%M", "T%H%M%S")
_LONGEST_SHOWN = 40  # characters of a text in a message
_FAR_DEG = 35.0  # no town's standard time is further from the sun's than this (Dakhla's is 31 degrees ahead)
_TOWNS_DEG = (-56.0, 79.0)  # latitudes of all towns, from Puerto Williams to Longyearbyen
_SWAP = "swap lat= and lon= in the layout"
_FEW_LINES = 5  # a row of at most so many is not checked for others inside it
MAX_INTERVAL_S = 7 * DAY_S  # in a longer one all hours of the week are equally likely
_YEAR_2100_S = 4_102_444_800
_NULL_ISLAND_DEG = 0.1  # open sea, 500 km from land: geocoders put there what they did not find
_LOST = "\N{REPLACEMENT CHARACTER}"  # stands for a byte that is not UTF-8
_NOT_UTF8 = "convert the file (iconv -f LATIN1 -t UTF-8): events name another category without these letters"
_WRITTEN = [("s", np.int64), ("has_offset", np.bool_)]  # see Written
_ROW = np.dtype(
    [("row", np.int64), ("start", _WRITTEN), ("end", _WRITTEN), ("lat", float), ("lon", float), ("category", object)]
)
_MEAN_GAPS = 10.0  # a gap so many times the mean occurs by chance once in 20,000 times


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


@dataclass(slots=True, kw_only=True)
class SkippedRows:
    """The rows of a file that give no incident: how many, and the first of them, by reason."""

    path: Path
    rows: int = 0  # of the whole file, read so far
    counts: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)  # number of the row and the text that shows it

    def add(self, reason: str, number: int, *texts: str) -> None:
        self.counts[reason] += 1
        if reason not in self.examples:
            self.examples[reason] = " ".join([f"row {number}", *(repr(text[:_LONGEST_SHOWN]) for text in texts)])


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
    too_early, too_long = end_s < start_s, end_s - start_s > MAX_INTERVAL_S
    ahead = np.zeros(len(start_s), np.bool_) if now_s is None else end_s > now_s + CLOCKS_DIFFER_S
    skipped.counts["end_before_start"] += int(too_early.sum())
    skipped.counts["interval_too_long"] += int(too_long.sum())
    skipped.counts["in_the_future"] += int((ahead & ~too_early & ~too_long).sum())
    plausible = ~(too_early | too_long | ahead)
    if not plausible.any():
        refuse_nothing_left(skipped, layout.name)
    rows, start_s, end_s, reading = rows[plausible], start_s[plausible], end_s[plausible], reading[plausible]
    refuse_swapped(rows["lat"], rows["lon"], layout.timezone, int(start_s[0]), path)
    names = rows["category"].tolist()
    categories = tuple(sorted(set(names)))
    if len(categories) > MAX_CATEGORIES:
        raise DataError(
            f"column {layout.category_column!r} gives {len(categories)} categories "
            f"({', '.join(categories[:3])}, ...), at most {MAX_CATEGORIES} are allowed",
            remedy="name another column, or give until=, the mark that ends the category",
        )
    codes = {name: code for code, name in enumerate(categories)}
    local_s = local_from_utc(start_s, layout.timezone)
    occurred_s = draw_within(start_s, end_s, np.random.default_rng(0))
    columns = (start_s, end_s, rows["lat"], rows["lon"], np.array([codes[name] for name in names], np.int16))
    by_all = np.lexsort(columns)
    is_repeated = np.logical_and.reduce([np.diff(column[by_all]) == 0 for column in columns])
    table = IncidentTable(
        layout=layout.name,
        timezone=layout.timezone,
        occurred_s=occurred_s,
        lat_deg=rows["lat"],
        lon_deg=rows["lon"],
        category=columns[-1],
        row=rows["row"],
        categories=categories,
        skipped=dict(+skipped.counts),
        examples=skipped.examples,
        exact_duplicates=int(is_repeated.sum()),
        ambiguous_times=int((reading == 1).sum()),
        nonexistent_times=int((reading == -1).sum()),
        out_of_order=int((np.diff(start_s) < 0).sum()),
        whole_hours=int((local_s % 3600 == 0).sum()),
        midnights=int((local_s % DAY_S == 0).sum()),
        uncertain_times=int((end_s > start_s).sum()),
    )
    return table.select(np.argsort(occurred_s, kind="stable"))


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
    bad = skipped.counts["bad_place"]
    if bad > MOST_BAD_PLACES * skipped.rows:
        first = skipped.examples["bad_place"]
        written = _EXCHANGED.search(first)
        if written and 90 < abs(float(written[1])) <= 180 and abs(float(written[2])) <= 90:
            raise DataError(f"{skipped.path}: latitude and longitude seem exchanged, first {first}", _SWAP)
        raise DataError(
            f"{skipped.path}: {bad:,} of {skipped.rows:,} places cannot be read, first {first}",
            remedy="places must be in degrees, with a decimal point; correct lat= and lon= in the layout, or leave out "
            "rows without a place",
        )
    bad = skipped.counts["bad_time"]
    if bad > MOST_BAD_TIMES * skipped.rows:
        first = skipped.examples["bad_time"]
        if _EPOCH_TEXT.search(first):
            remedy = "they look like a count since 1970; add format=epoch (seconds) or format=epoch_ms to the layout"
        else:
            fits = []  # of the formats that files often have
            for pattern in (date + clock for date in _DATES for clock in _CLOCKS):
                with suppress(ValueError):
                    datetime.strptime(first.partition(" '")[2][:-1], pattern)  # noqa: DTZ007 - only whether it can be read
                    fits.append(pattern)
            others = "" if bad == skipped.rows else "the others may be read wrongly, too; "
            fitting = " or ".join(f"format={pattern}" for pattern in fits)
            proposal = f"that one fits {fitting}; " if fitting else ""
            remedy = (
                f"{others}{proposal}correct format= (as for strptime) in the layout, or leave out rows without a time"
            )
        raise DataError(f"{path}: {bad:,} of {skipped.rows:,} times cannot be read, first {first}", remedy)
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


def _utc(written: npt.NDArray[np.void], timezone: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int8]]:
    """(n,) epoch seconds, and (n,) how the clock read them (see `utc_from_local`); 0 for times with an offset."""
    utc_s, reading = utc_from_local(written["s"], timezone)
    has_offset = written["has_offset"]
    return np.where(has_offset, written["s"], utc_s), np.where(has_offset, np.int8(0), reading)


def draw_within(
    start_s: npt.NDArray[np.int64], end_s: npt.NDArray[np.int64], random: np.random.Generator
) -> npt.NDArray[np.int64]:
    """(n,) one whole second of each [start, end), all equally likely; the start where both are the same.

    start_s, end_s: (n,) epoch seconds, no end before its start. Counts need whole incidents, so each gets one time. In
    expectation a step then counts the incident's aoristic weight (Ratcliffe and McCullagh, IJGIS 12(7), 1998); the
    draw adds noise, which a second seed shows.
    """
    return np.asarray(start_s + random.integers(0, np.maximum(end_s - start_s, 1)))


@contextmanager
def open_rows(
    path: Path, layout: Layout
) -> Iterator[tuple[Callable[[list[str]], tuple[str, ...]], Iterator[list[str]]]]:
    """A function that takes the layout's fields out of a row, and the file's rows: of a .csv, .csv.gz or .zip.

    Raises DataError, also while the rows are read.
    """
    try:
        with ExitStack() as opened:
            raw = opened.enter_context(_bytes(path, opened))
            # Bytes that are no UTF-8 are replaced: they may stand in columns that we do not read.
            text = io.TextIOWrapper(raw, encoding="utf-8-sig", errors="replace", newline="")
            rows = _whole_rows(text, layout, path)
            header = list(layout.header or next(rows, ()))
            if not header:
                raise DataError(f"{path} is empty", remedy="give another file")
            used = [layout.time_column, layout.lat_column, layout.lon_column, layout.category_column]
            used += [layout.end_column] if layout.end_column else []
            columns = [[name] if name in header else name.split("+") for name in used]
            refuse_columns(header, [name for parts in columns for name in parts], layout.delimiter, path)
            places = [[header.index(name) for name in parts] for parts in columns]
            if all(len(parts) == 1 for parts in places):
                yield itemgetter(*(place for (place,) in places)), rows
            else:
                yield lambda fields: tuple(" ".join(fields[place] for place in parts) for parts in places), rows
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} cannot be read ({error})", "give a .csv, .csv.gz or .zip with one .csv") from error


def _whole_rows(text: Iterable[str], layout: Layout, path: Path) -> Iterator[list[str]]:
    """The rows, with the header line. Raises DataError for a row that holds others: its quote was not closed."""
    reader = csv.reader(text, delimiter=layout.delimiter)
    columns = len(layout.header or ())
    number, line = (1, 0) if columns else (0, 0)  # a header line is row 0

    def refusal(what: str) -> DataError:
        row = f"row {number:,}" if number else "the header"
        return DataError(
            f"{path}, {row} (line {line + 1:,}): {what}", "a quote was probably not closed; close or remove it there"
        )

    try:
        for fields in reader:
            columns = columns or len(fields)
            if line == 0 and "\0" in "".join(fields):
                raise DataError(f"{path} is UTF-16 or no text", "convert it to UTF-8 (iconv -f UTF-16 -t UTF-8)")
            if reader.line_num - line > _FEW_LINES:
                # Rows inside of a field have as many delimiters as a row; most lines of a long text have not.
                inner = [text_line for text in fields for text_line in text.splitlines()[1:-1]]
                like_rows = sum(text_line.count(layout.delimiter) == columns - 1 for text_line in inner)
                if not number or 2 * like_rows > len(inner):
                    raise refusal(f"a field extends over {reader.line_num - line:,} lines that look like rows")
            yield fields
            number, line = number + 1, reader.line_num
    except csv.Error as error:
        raise refusal(str(error)) from error


def _bytes(path: Path, opened: ExitStack) -> IO[bytes]:
    if path.suffix != ".zip":
        return cast(IO[bytes], gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")
    try:
        archive = opened.enter_context(zipfile.ZipFile(path))
        members = [name for name in archive.namelist() if name.lower().endswith(".csv")]
        if len(members) != 1:
            raise DataError(f"{path} holds {len(members)} .csv files ({members[:5]})", "unpack it and name one of them")
        return archive.open(members[0])
    except RuntimeError as error:  # encrypted, or packed in a way that Python does not know
        raise DataError(f"{path} cannot be unpacked here ({error})", "unpack it, and give the .csv") from error


def time_reader(layout: Layout) -> Callable[[str], Written | None]:
    """Text -> time as written, None for what is no time.

    Dates and times of day recur, so where the format is `date clock` each is parsed once: eight times as fast as
    strptime on every row.
    """
    zone_of(layout.timezone)
    pattern = layout.time_format
    if pattern is None:
        return lambda text: _parse(datetime.fromisoformat, text)
    if pattern in EPOCHS:
        units = EPOCHS[pattern]

        def since_epoch(text: str) -> Written | None:
            try:
                return int(float(text) // units), True
            except (ValueError, OverflowError):
                return None

        return since_epoch
    split = re.fullmatch(r"(\S*%[yY]\S*) ((?:%[HIMSpf]|[^%])+)", pattern)
    if split is None:
        return lambda text: _parse(lambda written: datetime.strptime(written, pattern), text)  # noqa: DTZ007
    date_pattern, clock_pattern = split[1], "%Y-" + split[2]
    parse_date = cache(lambda text: _parse(lambda written: datetime.strptime(written, date_pattern), text))  # noqa: DTZ007
    parse_clock = cache(lambda text: _parse(lambda written: datetime.strptime(f"1970-{written}", clock_pattern), text))  # noqa: DTZ007

    def read(text: str) -> Written | None:
        date_text, _, clock_text = text.partition(" ")
        date, clock = parse_date(date_text), parse_clock(clock_text)
        return None if date is None or clock is None else (date[0] + clock[0], False)

    return read


def _parse(parse: Callable[[str], datetime], text: str) -> Written | None:
    try:
        when = parse(text)
        is_aware = when.tzinfo is not None
        passed = when.astimezone(UTC).replace(tzinfo=None) - _EPOCH if is_aware else when - _EPOCH
    except (ValueError, OverflowError):
        return None
    return passed.days * 86_400 + passed.seconds, is_aware


@lru_cache(maxsize=4096)
def slug(name: str) -> str:
    """`CRIMINAL DAMAGE` -> `criminal_damage`: lower case, accents dropped, runs of anything else become one `_`."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9-]+", "_", plain.lower()).strip("_-")[:63]


def refuse_lost_names(names: Iterable[str]) -> None:
    """Raises DataError for a name whose letters a slug cannot hold, and for two that would be one but for lost letters.

    Names that differ in other signs only (`EMS`, ` ems-`) are one category.
    """
    first: dict[str, str] = {}
    for name in sorted(names):
        if not slug(name) and _letters(name):
            raise DataError(f"the category {name!r} has no letter that a slug can hold", _LATIN)
        other = first.setdefault(slug(name), name)
        if _letters(other) != _letters(name):
            raise DataError(f"the categories {other!r} and {name!r} would both be {slug(name)!r}", _LATIN)


def _letters(name: str) -> str:
    """All letters and digits, in lower case and without accents."""
    plain = unicodedata.normalize("NFKD", name)
    return re.sub(r"[\W_]+", "_", "".join(sign for sign in plain if not unicodedata.combining(sign)).lower()).strip("_")


def refuse_nothing_left(skipped: SkippedRows, layout: str) -> NoReturn:
    """Raises DataError, with the reason why none of the rows could be used."""
    path, rows = skipped.path, skipped.rows
    if not rows:
        raise DataError(f"{path} has no rows, or a header only", remedy="give another file")
    if skipped.counts["in_the_future"] == rows:
        raise DataError(
            f"{path}: all {rows:,} rows lie in the future",
            remedy="check the year of their times, timezone= in the layout, and this machine's clock",
        )
    counts = ", ".join(f"{reason} {count:,}" for reason, count in skipped.counts.items() if count)
    first = "".join(f"; {reason}, {example}" for reason, example in skipped.examples.items())
    raise DataError(
        f"{path} gives no incident in layout {layout!r} (left out: {counts}{first})",
        remedy="check the layout's columns",
    )


def refuse_columns(header: Sequence[str], used: Sequence[str], delimiter: str, path: object) -> None:
    """Raises DataError when the header lacks a column that is used, or has it twice."""
    if missing := [name for name in used if name not in header]:
        shown, remedy = [name[:_LONGEST_SHOWN] for name in header[:20]], "name the columns of this file"
        if padded := [name for name in header if name != name.strip() and name.strip() in missing]:
            remedy = f"{', '.join(map(repr, padded))} begins or ends with a blank: remove it from the header"
        for mark, word in (("|", "|"), ("\t", "tab"), (";", ";")):  # the last that fits is named
            names = [name.strip().strip('"') for name in delimiter.join(header).split(mark)]
            if mark != delimiter and len(names) > 1 and (len(header) == 1 or set(missing) & set(names)):
                remedy = f"the columns seem to be separated by {mark!r}: add delimiter={word} to the layout"
        raise DataError(f"{path} has no column {missing}, but {shown}", remedy)
    if twice := [name for name in dict.fromkeys(used) if header.count(name) > 1]:
        raise DataError(f"{path} has more than one column {', '.join(map(repr, twice))}", "rename or remove the others")


def refuse_swapped(
    lat_deg: npt.NDArray[np.float64],
    lon_deg: npt.NDArray[np.float64],
    timezone: str,
    at_s: int,
    source: object,
    remedy: str = _SWAP,
) -> None:
    """Raises DataError when no town lies at the latitudes, but some at the longitudes as if they were latitudes.

    Also when the clock fits the latitudes as if they were longitudes, and not the longitudes: a zone's standard time is
    the sun's at 15 degrees of longitude an hour. UTC, which is used anywhere, tells nothing.
    """
    lat, lon = float(np.median(lat_deg)), float(np.median(lon_deg))
    places = f"{source}: places lie around latitude {lat:.2f}, longitude {lon:.2f}"
    low, high = _TOWNS_DEG
    if not low <= lat <= high and low <= lon <= high:
        raise DataError(f"{places}, and no town lies at such a latitude: they seem exchanged", remedy)
    when = datetime.fromtimestamp(at_s, UTC).astimezone(zone_of(timezone))
    if "/" not in timezone or timezone.startswith("Etc/"):
        return
    due = ((when.utcoffset() or timedelta()) - (when.dst() or timedelta())).total_seconds() / 240
    if abs(lon - due) > _FAR_DEG > abs(lat - due):
        raise DataError(
            f"{places}, and the time zone {timezone} near longitude {due:.0f}: they seem exchanged",
            remedy=f"{remedy}, or correct the time zone",
        )


def merge_repeated(table: IncidentTable) -> IncidentTable:
    """The table without the calls that repeat an earlier one (see `repeats`); `repeated_calls` counts those left out.

    In the same second the one before it in the file is the earlier one. For calls with seconds: times rounded to the
    hour repeat each other by chance.
    """
    order = np.arange(len(table), dtype=np.uint64)
    return _without(table, repeats(_calls(table, np.arange(len(table)), order)))


def merged_as_in_the_stream(table: IncidentTable, inside: npt.NDArray[np.bool_], spec: Spec) -> IncidentTable:
    """The table as the spec counts it: only calls inside the grid are known, and in the same second the key decides.

    inside: (n,).
    """
    if not spec.merges_calls or table.is_of_counts:
        return table
    positions = np.flatnonzero(inside)
    keys = incident_keys([table.incident_id(position) for position in positions.tolist()])
    repeated = np.zeros(len(table), np.bool_)
    repeated[positions] = repeats(_calls(table, positions, keys))
    return _without(table, repeated)


def places_of(table: IncidentTable) -> npt.NDArray[np.int32]:
    """(n, 2); those of an archive are not known."""
    if table.is_of_counts:
        return np.full((len(table), 2), NO_PLACE, np.int32)
    return fixed_places(table.lat_deg, table.lon_deg)


def _calls(table: IncidentTable, chosen: npt.NDArray[np.intp], order: npt.NDArray[np.uint64]) -> Calls:
    return Calls(
        occurred_s=table.occurred_s[chosen],
        order=order,
        category=table.category[chosen],
        place=places_of(table)[chosen],
    )


def _without(table: IncidentTable, repeated: npt.NDArray[np.bool_]) -> IncidentTable:
    return replace(table.select(~repeated), repeated_calls=table.repeated_calls + int(repeated.sum()))


def cutoff_of(until: str, incidents: IncidentTable) -> int:
    """Local midnight of `until`, epoch seconds; for `none`, just after the file's last incident.

    Raises DataError when the file says nothing of the time before: silence would count as quiet days. A file may end
    with a quiet spell: a day, or ten times what lies between two incidents on average.
    """
    if until == "none":
        return int(incidents.occurred_s[-1]) + 1
    try:
        day = datetime.strptime(until, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError as error:
        raise DataError(f"--until {until}", remedy="give a date as YYYY-MM-DD, or none") from error
    cutoff_s = int(utc_from_local(np.array([int(day.timestamp())]), incidents.timezone)[0][0])
    first_s, last_s = int(incidents.occurred_s[0]), int(incidents.occurred_s[-1])
    quiet_s = _MEAN_GAPS * (last_s - first_s) / len(incidents.occurred_s)
    if cutoff_s - last_s > max(86_400.0, quiet_s):
        last = datetime.fromtimestamp(last_s, zone_of(incidents.timezone))
        raise DataError(
            f"--until {until} lies {(cutoff_s - last_s) / 86_400:.0f} days after the file's last incident, "
            f"{last:%Y-%m-%d %H:%M}; days without data would count as quiet days",
            remedy="give the last midnight that the file covers, or a longer file",
        )
    return cutoff_s

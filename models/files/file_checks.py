"""What is probably wrong with a whole file: its header, or the times and coordinates of many of its rows."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from models.local_time import zone_of
from schemas.errors import DataError

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


def refuse_bad_times(skipped: SkippedRows) -> None:
    """Raises DataError when too many times could not be read for the others to be trusted."""
    bad = skipped.counts["bad_time"]
    if bad <= MOST_BAD_TIMES * skipped.rows:
        return
    first = skipped.examples["bad_time"]
    if _EPOCH_TEXT.search(first):
        remedy = "they look like a count since 1970; add format=epoch (seconds) or format=epoch_ms to the layout"
    else:
        others = "" if bad == skipped.rows else "the others may be read wrongly, too; "
        fitting = " or ".join(f"format={pattern}" for pattern in _formats_of(first.partition(" '")[2][:-1]))
        proposal = f"that one fits {fitting}; " if fitting else ""
        remedy = f"{others}{proposal}correct format= (as for strptime) in the layout, or leave out rows without a time"
    raise DataError(f"{skipped.path}: {bad:,} of {skipped.rows:,} times cannot be read, first {first}", remedy)


def _formats_of(text: str) -> Iterator[str]:
    """The formats, of those that files often have, in which a text is a time."""
    for pattern in (date + clock for date in _DATES for clock in _CLOCKS):
        with suppress(ValueError):
            datetime.strptime(text, pattern)  # noqa: DTZ007 - only whether it can be read
            yield pattern


def refuse_bad_places(skipped: SkippedRows) -> None:
    """Raises DataError when too many places could not be read. Rows with an empty one are not among them."""
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
        shown = [name[:_LONGEST_SHOWN] for name in header[:20]]
        raise DataError(f"{path} has no column {missing}, but {shown}", _remedy(header, missing, delimiter))
    if twice := [name for name in dict.fromkeys(used) if header.count(name) > 1]:
        raise DataError(f"{path} has more than one column {', '.join(map(repr, twice))}", "rename or remove the others")


def _remedy(header: Sequence[str], missing: Sequence[str], delimiter: str) -> str:
    line = delimiter.join(header)
    for mark, word in ((";", ";"), ("\t", "tab"), ("|", "|")):
        names = [name.strip().strip('"') for name in line.split(mark)]
        if mark != delimiter and len(names) > 1 and (len(header) == 1 or set(missing) & set(names)):
            return f"the columns seem to be separated by {mark!r}: add delimiter={word} to the layout"
    if padded := [name for name in header if name != name.strip() and name.strip() in missing]:
        return f"{', '.join(map(repr, padded))} begins or ends with a blank: remove it from the header"
    return "name the columns of this file"


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

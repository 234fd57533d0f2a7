"""What is probably wrong with a whole file: its header, or what many of its rows say of times and coordinates."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NoReturn

import numpy as np
import numpy.typing as npt

from models.local_time import zone_of
from schemas.errors import DataError

MOST_BAD_TIMES = 0.05  # of the rows; a wrong format still reads those whose day and month can be exchanged
MOST_BAD_PLACES = 0.05  # of the rows
_EPOCH_TEXT = re.compile(r"'(\d{9,10}|\d{12,13})(\.\d*)?'")
_LONGEST_SHOWN = 40  # characters of a column's name in a message
_FAR_DEG = 35.0  # no town's standard time is further from the sun's than this (Dakhla's is 31 degrees ahead)


def refuse_bad_times(skipped: Mapping[str, int], examples: Mapping[str, str], rows: int, path: object) -> None:
    """Raises DataError when too many times could not be read for the others to be trusted.

    skipped: rows left out, by reason; examples: the first row of each reason, in words.
    """
    bad = skipped.get("bad_time", 0)
    if bad <= MOST_BAD_TIMES * rows:
        return
    first = examples["bad_time"]
    if _EPOCH_TEXT.search(first):
        remedy = "they look like a count since 1970: add format=epoch (seconds) or format=epoch_ms to the layout"
    else:
        others = "" if bad == rows else "the others may be read wrongly, too; "
        remedy = f"{others}correct format= (as for strptime) in the layout, or leave out rows without a time"
    raise DataError(f"{path}: {bad:,} of {rows:,} times cannot be read, first {first}: {remedy}")


def refuse_bad_places(skipped: Mapping[str, int], examples: Mapping[str, str], rows: int, path: object) -> None:
    """Raises DataError when too many places could not be read. Rows with an empty one are not among them."""
    bad = skipped.get("bad_place", 0)
    if bad > MOST_BAD_PLACES * rows:
        raise DataError(
            f"{path}: {bad:,} of {rows:,} places cannot be read, first {examples['bad_place']}: places must be in "
            "degrees, with a decimal point; correct lat= and lon= in the layout, or leave out rows without a place"
        )


def refuse_nothing_left(
    skipped: Mapping[str, int], examples: Mapping[str, str], rows: int, layout: str, path: object
) -> NoReturn:
    """Raises DataError, with the reason why none of the rows could be used."""
    if not rows:
        raise DataError(f"{path} has no rows, or a header only: give the file that was meant")
    if skipped.get("in_the_future") == rows:
        raise DataError(
            f"{path}: all {rows:,} rows lie in the future: check the year of their times, timezone= in the layout, and "
            "this machine's clock"
        )
    first = "".join(f"; {reason}, {said}" for reason, said in examples.items())
    raise DataError(
        f"{path} gives no incident in layout {layout!r} (skipped: {dict(skipped)}{first}): check the layout's columns"
    )


def refuse_columns(header: Sequence[str], used: Sequence[str], delimiter: str, path: object) -> None:
    """Raises DataError when the header lacks a column that is used, or has it twice."""
    if missing := [name for name in used if name not in header]:
        shown = [name[:_LONGEST_SHOWN] for name in header[:20]]
        raise DataError(f"{path} has no column {missing}, but {shown}: {_remedy(header, missing, delimiter)}")
    if twice := [name for name in dict.fromkeys(used) if header.count(name) > 1]:
        raise DataError(f"{path} has more than one column {', '.join(map(repr, twice))}: rename or remove the others")


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
    remedy: str = "exchange lat= and lon= in the layout",
) -> None:
    """Raises DataError when the clock fits the latitudes as if they were longitudes, and not the longitudes.

    A zone's standard time is the sun's at 15 degrees of longitude an hour. UTC, which is used anywhere, tells nothing.
    """
    when = datetime.fromtimestamp(at_s, UTC).astimezone(zone_of(timezone))
    if "/" not in timezone or timezone.startswith("Etc/"):
        return
    offset, summer = when.utcoffset(), when.dst()
    if offset is None or summer is None:
        return
    due = (offset - summer).total_seconds() / 240
    lat, lon = float(np.median(lat_deg)), float(np.median(lon_deg))
    if abs(lon - due) > _FAR_DEG > abs(lat - due):
        raise DataError(
            f"{source}: places lie around latitude {lat:.2f}, longitude {lon:.2f}, and the time zone {timezone} near "
            f"longitude {due:.0f}: {remedy}, or correct the time zone"
        )

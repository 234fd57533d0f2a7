"""What is probably wrong with a whole file, when many of its rows say so: the format of times, the two coordinates."""

from collections.abc import Mapping
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from models.local_time import zone_of
from schemas.errors import DataError

MOST_BAD_TIMES = 0.05  # of the rows; a wrong format still reads those whose day and month can be exchanged
_FAR_DEG = 35.0  # no town's standard time is further from the sun's than this (Dakhla's is 31 degrees ahead)


def refuse_bad_times(skipped: Mapping[str, int], examples: Mapping[str, str], rows: int, path: object) -> None:
    """Raises DataError when too many times could not be read for the others to be trusted.

    skipped: rows left out, by reason; examples: the first row of each reason, in words.
    """
    bad = skipped.get("bad_time", 0)
    if bad > MOST_BAD_TIMES * rows:
        raise DataError(
            f"{path}: {bad:,} of {rows:,} times cannot be read, first {examples['bad_time']}: the others may be read "
            "wrongly, too; correct format= (as for strptime) in the layout, or leave out rows without a time"
        )


def refuse_swapped(
    lat_deg: npt.NDArray[np.float64], lon_deg: npt.NDArray[np.float64], timezone: str, at_s: int, path: object
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
            f"{path}: places lie around latitude {lat:.2f}, longitude {lon:.2f}, and the time zone {timezone} near "
            f"longitude {due:.0f}: exchange lat= and lon= in the layout, or correct timezone="
        )

"""Repeated calls: several people report one incident, and the file has a row for each of them."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from models.files.incident_files import IncidentTable
from schemas.errors import DataError

Floats = npt.NDArray[np.float64]

_EARTH_M = 6_371_008.8  # mean radius of the IUGG


def merge_repeated(table: IncidentTable, *, within_m: float = 200.0, within_s: int = 900) -> IncidentTable:
    """The table without the calls that repeat an earlier one; `repeated_calls` counts those left out.

    A call repeats another of its category that is earlier (in the same second: before it in the file), at most
    `within_s` before and at most `within_m` away along the great circle (haversine, mean radius), both limits included.
    The earlier call may itself be left out, so of a chain of calls only the first stays. Without the condition on the
    category, the ambulance to an accident that the police reported would be left out, too.
    For calls with seconds: times rounded to the hour repeat each other by chance.
    """
    if not (within_m >= 0 and within_s >= 0):
        raise DataError(f"within_m={within_m}, within_s={within_s}", "give a distance and a time of 0 or more")
    lat, lon = np.radians(table.lat_deg), np.radians(table.lon_deg)
    repeated = np.zeros(len(table), np.bool_)
    earlier = np.arange(len(table))
    for shift in range(1, len(table)):  # each call and the one `shift` places after it
        earlier = earlier[: np.searchsorted(earlier, len(table) - shift)]
        earlier = earlier[table.occurred_s[earlier + shift] - table.occurred_s[earlier] <= within_s]
        if not len(earlier):
            break  # a call without a neighbour in time at this shift has none at a longer one
        first = earlier[~repeated[earlier + shift]]
        first = first[table.category[first] == table.category[first + shift]]
        later = first + shift
        repeated[later] = _metres(lat[first], lon[first], lat[later], lon[later]) <= within_m
    return replace(table.select(~repeated), repeated_calls=table.repeated_calls + int(repeated.sum()))


def _metres(lat: Floats, lon: Floats, other_lat: Floats, other_lon: Floats) -> Floats:
    """(n,) great-circle distances of places in radians, by the haversine formula."""
    square = np.sin((other_lat - lat) / 2) ** 2 + np.cos(lat) * np.cos(other_lat) * np.sin((other_lon - lon) / 2) ** 2
    return np.asarray(2 * _EARTH_M * np.arcsin(np.sqrt(np.minimum(square, 1.0))))

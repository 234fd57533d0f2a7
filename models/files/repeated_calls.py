"""Repeated calls of a file: several people report one incident, and the file has a row for each of them."""

from dataclasses import replace

import numpy as np

from models.counting.repeated_calls import WITHIN_M, WITHIN_S, Calls, repeats
from models.files.incident_files import IncidentTable
from schemas.errors import DataError
from schemas.incidents import fixed_places


def merge_repeated(table: IncidentTable, *, within_m: float = WITHIN_M, within_s: int = WITHIN_S) -> IncidentTable:
    """The table without the calls that repeat an earlier one (see `repeats`); `repeated_calls` counts those left out.

    In the same second the one before it in the file is the earlier one. For calls with seconds: times rounded to the
    hour repeat each other by chance.
    """
    if not (within_m >= 0 and within_s >= 0):
        raise DataError(f"within_m={within_m}, within_s={within_s}", "give a distance and a time of 0 or more")
    calls = Calls(
        occurred_s=table.occurred_s,
        order=np.arange(len(table), dtype=np.uint64),
        category=table.category,
        place=fixed_places(table.lat_deg, table.lon_deg),
    )
    repeated = repeats(calls, within_m=within_m, within_s=within_s)
    return replace(table.select(~repeated), repeated_calls=table.repeated_calls + int(repeated.sum()))

"""Repeated calls of a file: several people report one incident, and the file has a row for each of them."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from models.counting.repeated_calls import Calls, repeats
from models.files.incident_files import IncidentTable
from schemas.decode import incident_keys
from schemas.incidents import NO_PLACE, fixed_places
from schemas.spec import Spec


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

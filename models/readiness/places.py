"""Places of units as people write them, and tables of driving times: CSV files, checked against the grid."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import numpy as np

from models.readiness.question import MOST_UNITS
from models.readiness.reach import Reach, metres_of, refuse_outside
from schemas.errors import DataError
from schemas.files import sha256
from schemas.grid import Cells, Floats, Grid

PLACES = "a CSV file with the columns place,lat,lon and, where several units or none stand at a place, units"
TIMES = "a CSV file with the columns place,cell,minutes, with a row for each place and each cell that units answer"
MOST_MINUTES = 24 * 60
T = TypeVar("T")


class Place(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where units may stand. units: how many do; None where the file does not say."""

    place: Annotated[str, msgspec.Meta(min_length=1)]
    lat: Annotated[float, msgspec.Meta(ge=-90, le=90)]
    lon: Annotated[float, msgspec.Meta(ge=-180, le=180)]
    units: Annotated[int, msgspec.Meta(ge=0, le=MOST_UNITS)] | None = None


class _Time(msgspec.Struct):
    place: str
    cell: str
    minutes: Annotated[float, msgspec.Meta(ge=0, le=MOST_MINUTES)]


def metres_of_places(places: Sequence[Place], grid: Grid) -> Floats:
    """(places, 2) north and east of the grid's corner."""
    lat, lon = np.array([(place.lat, place.lon) for place in places]).T
    return metres_of(grid, lat, lon)


def places_of(cells: Cells, grid: Grid) -> list[Place]:
    """The centres of cells."""
    ids, (lat, lon) = grid.cell_ids(), grid.centres()
    return [Place(place=ids[cell], lat=float(lat[cell]), lon=float(lon[cell])) for cell in cells.tolist()]


def read_places(path: Path, grid: Grid) -> list[Place]:
    """The places of a file. Raises DataError for one that is not in the grid, and for a name that stands twice."""
    places = _rows(path, list[Place], PLACES)
    names = [place.place for place in places]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{path}: {', '.join(map(repr, twice[:3]))} stands several times", "name each place once")
    refuse_outside(grid, *np.array([(place.lat, place.lon) for place in places]).T)
    return places


def read_times(
    path: Path, places: Sequence[Place], grid: Grid, *, minutes: float, answered: Cells
) -> tuple[Reach, str]:
    """What each place reaches within `minutes` by a table of driving times, and the hash of the table.

    answered: cells with calls. Raises DataError for a place or such a cell that the table lacks, and for a place that
    reaches no cell in time.
    """
    times = np.full((len(places), grid.cells), np.nan, np.float32)
    number = {place.place: row for row, place in enumerate(places)}
    for row in _rows(path, list[_Time], TIMES):
        if row.place in number:
            at = number[row.place], grid.index_of(row.cell)
            if not np.isnan(times[at]):
                raise DataError(f"{path} has two times from {row.place!r} to {row.cell}", "give each pair one row")
            times[at] = row.minutes
    gaps = np.argwhere(np.isnan(times[:, answered]))
    if len(gaps):
        place, cell = gaps[0]
        raise DataError(
            f"{path} lacks {len(gaps):,} times, the first from {places[place].place!r} to "
            f"{grid.cell_id(int(answered[cell]))}",
            f"give a row for each place and each cell with calls; {MOST_MINUTES} minutes where there is no road",
        )
    start, end = np.nonzero(times <= minutes)
    reached = np.bincount(start, minlength=len(places))
    if (reached == 0).any():
        name = places[int(np.argmin(reached))].place
        raise DataError(
            f"{path}: {name!r} reaches no cell in {minutes:g} minutes", "correct its times, or leave it out"
        )
    reach = Reach(
        cells=grid.cells,
        per_cell=1,
        start=np.searchsorted(start, np.arange(len(places) + 1)),
        point=end.astype(np.int32),
        minutes=times[start, end],
    )
    return reach, sha256(path.read_bytes())


def _rows(path: Path, kind: type[list[T]], expected: str) -> list[T]:
    """The rows of a CSV file, checked: at least one."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = msgspec.convert(list(csv.DictReader(file, skipinitialspace=True)), kind, strict=False)
    except (OSError, UnicodeDecodeError, csv.Error, msgspec.ValidationError) as error:
        raise DataError(f"{path} cannot be read ({error})", f"give {expected}") from error
    if not rows:
        raise DataError(f"{path} has no row", f"give {expected}")
    return rows

"""Places of units as people write them, and tables of driving times: CSV files, checked against the grid."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from models.readiness.question import MOST_UNITS, Posts
from models.readiness.reach import Reach, metres_of, refuse_outside
from schemas.errors import DataError
from schemas.files import sha256
from schemas.grid import Cells, Floats, Grid

PLACES = "a CSV file with the columns place,lat,lon and, where several units or none stand at a place, units"
TIMES = "a CSV file with the columns place,cell,minutes, with a row for each place and each cell that units answer"
MOST_MINUTES = 24 * 60
T = TypeVar("T")


class _Place(msgspec.Struct):
    place: Annotated[str, msgspec.Meta(min_length=1)]
    lat: Annotated[float, msgspec.Meta(ge=-90, le=90)]
    lon: Annotated[float, msgspec.Meta(ge=-180, le=180)]
    units: Annotated[int, msgspec.Meta(ge=0, le=MOST_UNITS)] | None = None


class _Time(msgspec.Struct):
    place: str
    cell: str
    minutes: Annotated[float, msgspec.Meta(ge=0, le=MOST_MINUTES)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where units may stand. units: (places,) how many do now; None where the file does not say."""

    names: tuple[str, ...]
    lat_deg: Floats
    lon_deg: Floats
    units: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.names)

    def metres(self, grid: Grid) -> Floats:
        """(places, 2) north and east of the grid's corner."""
        return metres_of(grid, self.lat_deg, self.lon_deg)

    def and_fixed(self, fixed: "Places | None") -> tuple["Places", Posts]:
        """These with the places of fixed units behind them, and where those stand."""
        if fixed is None:
            return self, ()
        lat, lon = (np.concatenate([getattr(self, name), getattr(fixed, name)]) for name in ("lat_deg", "lon_deg"))
        units = np.ones(len(fixed), np.int64) if fixed.units is None else fixed.units
        both = Places(names=(*self.names, *fixed.names), lat_deg=lat, lon_deg=lon)
        return both, tuple(np.repeat(len(self) + np.arange(len(fixed)), units).tolist())

    def standing(self, units: int) -> Posts:
        """Where units stand, as the file says; where it does not, so many spread evenly, the first places first."""
        places = (
            np.arange(max(units, 0)) % len(self) if self.units is None else np.repeat(np.arange(len(self)), self.units)
        )
        return tuple(np.sort(places).tolist())

    @classmethod
    def of_cells(cls, grid: Grid, cells: Cells) -> "Places":
        """The centres of cells."""
        ids, (lat, lon) = grid.cell_ids(), grid.centres()
        return cls(names=tuple(ids[cell] for cell in cells.tolist()), lat_deg=lat[cells], lon_deg=lon[cells])


def read_places(path: Path, grid: Grid) -> Places:
    """The places of a file. Raises DataError for one that is not in the grid, and for a name that stands twice."""
    rows = _rows(path, list[_Place], PLACES)
    names = [row.place for row in rows]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise DataError(f"{path}: {', '.join(map(repr, twice[:3]))} stands several times", "name each place once")
    lat, lon = (np.array([getattr(row, name) for row in rows]) for name in ("lat", "lon"))
    refuse_outside(grid, lat, lon)
    units = None if rows[0].units is None else np.array([row.units or 0 for row in rows])
    return Places(names=tuple(names), lat_deg=lat, lon_deg=lon, units=units)


def read_times(path: Path, places: Places, grid: Grid, *, minutes: float, answered: Cells) -> tuple[Reach, str]:
    """What each place reaches within `minutes` by a table of driving times, and the hash of the table.

    answered: cells with calls. Raises DataError for a place or such a cell that the table lacks, and for a place that
    reaches no cell in time.
    """
    times = np.full((len(places), grid.cells), np.nan, np.float32)
    number = {name: place for place, name in enumerate(places.names)}
    for row in _rows(path, list[_Time], TIMES):
        if row.place in number:
            times[number[row.place], grid.index_of(row.cell)] = row.minutes
    gaps = np.argwhere(np.isnan(times[:, answered]))
    if len(gaps):
        place, cell = gaps[0]
        raise DataError(
            f"{path} lacks {len(gaps):,} times, the first from {places.names[place]!r} to "
            f"{grid.cell_ids()[answered[cell]]}",
            f"give a row for each place and each cell with calls; {MOST_MINUTES} minutes where there is no road",
        )
    start, end = np.nonzero(times <= minutes)
    reached = np.bincount(start, minlength=len(places))
    if (reached == 0).any():
        name = places.names[int(np.argmin(reached))]
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
            rows = msgspec.convert(list(csv.DictReader(file)), kind, strict=False)
    except (OSError, UnicodeDecodeError, csv.Error, msgspec.ValidationError) as error:
        raise DataError(f"{path} cannot be read ({error})", f"give {expected}") from error
    if not rows:
        raise DataError(f"{path} has no row", f"give {expected}")
    return rows

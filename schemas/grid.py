"""The grid: square cells over one region, and the way from a place to a cell and back."""

import math
import re
from functools import cached_property
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.errors import DataError
from schemas.limits import MAX_CELLS, MAX_SIDE

Floats = npt.NDArray[np.float64]
Cells = npt.NDArray[np.int32]
Bounds = tuple[float, float, float, float]  # south, west, north, east in degrees

_AT_MOST = f"at most {MAX_SIDE} a side and {MAX_CELLS} in all"
_SEMI_MAJOR_M = 6_378_137.0  # WGS 84
_ECCENTRICITY_SQUARED = 6.694379990141316e-3  # WGS 84
_GEOHASH_ALPHABET = "0123456789bcdefghjkmnpqrstuvwxyz"
CELL_ID = r"^r[0-9]{3,4}c[0-9]{3,4}$"  # row and column, as r012c034


class Grid(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """`rows` x `cols` squares of `cell_m` metres, counted from the south-west corner.

    Row 0 is the southernmost, column 0 the westernmost; a cell's index is `row * cols + col`. A cell is
    half-open: its south and west edges belong to it. Projection: local equirectangular with the WGS 84 radii
    of curvature at the grid's middle latitude, so a cell's true area differs from the square of `cell_m` by less
    than 1 % for a region up to 100 km high within 50° of the equator (1.4 % at 60°).

    >>> grid = Grid(south_deg=41.5, west_deg=-88.0, cell_m=1000, rows=2, cols=3)
    >>> grid.cells, grid.cell_ids()[4]
    (6, 'r001c001')
    """

    south_deg: float
    west_deg: float
    cell_m: float
    rows: int
    cols: int

    def __post_init__(self) -> None:
        if not (-89 < self.south_deg < 89 and -180 <= self.west_deg < 180):
            raise DataError(
                f"grid corner {self.south_deg}, {self.west_deg} is not a place",
                "give south_deg from -89 to 89 and west_deg from -180 to 180",
            )
        if not 200 <= self.cell_m <= 100_000:
            remedy = "choose --cell-m from 200 to 100000 (smaller cells identify households)"
            raise DataError(f"cells of {self.cell_m:g} m are too small or too large", remedy)
        if not (1 <= self.rows <= MAX_SIDE and 1 <= self.cols <= MAX_SIDE and self.rows * self.cols <= MAX_CELLS):
            raise DataError(f"a grid of {self.rows} x {self.cols} cells is too large", f"{_AT_MOST}; enlarge cell_m")
        for name in ("south_deg", "west_deg", "cell_m"):  # 1000 and 1000.0, 0.0 and -0.0 are the same grid in JSON
            msgspec.structs.force_setattr(self, name, float(getattr(self, name)) + 0.0)
        north, width = float(self.corners()[0][-1]), float(np.ptp(self.corners()[1]))
        if north > 90 or width > 360:
            raise DataError(
                f"{self.rows} x {self.cols} cells of {self.cell_m} m from latitude {self.south_deg} leave the globe",
                "choose fewer or smaller cells",
            )

    @property
    def cells(self) -> int:
        return self.rows * self.cols

    @cached_property
    def metres_per_degree(self) -> tuple[float, float]:
        """(of latitude, of longitude) at the middle latitude. Source: WGS 84 radii of curvature M and N."""
        return _metres_per_degree(self.south_deg, self.rows * self.cell_m)

    def locate(self, lat_deg: Floats, lon_deg: Floats) -> tuple[Cells, npt.NDArray[np.bool_]]:
        """Cell index of each place, and whether the place lies inside. Outside, the index is meaningless.

        lat_deg, lon_deg: (n,) degrees. Gives (n,) int32 and (n,) bool.
        """
        lat_edges, lon_edges = self.corners()  # the same numbers as in `polygon`, so that both always agree
        row = np.searchsorted(lat_edges, lat_deg, side="right") - 1
        col = np.searchsorted(lon_edges, lon_deg, side="right") - 1
        inside = (row >= 0) & (row < self.rows) & (col >= 0) & (col < self.cols)
        return (row * self.cols + col).astype(np.int32), inside

    def corners(self) -> tuple[Floats, Floats]:
        """Latitudes of the row edges (rows + 1,) and longitudes of the column edges (cols + 1,), degrees."""
        per_lat, per_lon = self.metres_per_degree
        lat: Floats = self.south_deg + np.arange(self.rows + 1, dtype=np.float64) * (self.cell_m / per_lat)
        lon: Floats = self.west_deg + np.arange(self.cols + 1, dtype=np.float64) * (self.cell_m / per_lon)
        return lat, lon

    def centres(self) -> tuple[Floats, Floats]:
        """Latitude and longitude of every cell's centre, each (cells,), degrees."""
        lat, lon = self.corners()
        mid_lat, mid_lon = (lat[:-1] + lat[1:]) / 2, (lon[:-1] + lon[1:]) / 2
        return np.repeat(mid_lat, self.cols), np.tile(mid_lon, self.rows)

    def cell_id(self, cell: int) -> str:
        """`r012c345` of the cell with that index."""
        row, col = divmod(cell, self.cols)
        return f"r{row:03d}c{col:03d}"

    def cell_ids(self) -> list[str]:
        """The id of every cell, in index order."""
        return [self.cell_id(cell) for cell in range(self.cells)]

    def index_of(self, cell_id: str) -> int:
        """Index of `cell_id`. Raises DataError when the grid has no such cell."""
        is_id = re.fullmatch(CELL_ID, cell_id)
        row, col = map(int, cell_id[1:].split("c")) if is_id else (self.rows, self.cols)
        if row >= self.rows or col >= self.cols:
            raise DataError(f"no cell {cell_id!r} in a grid of {self.rows} x {self.cols}", "ids look like r012c034")
        return row * self.cols + col

    def polygon(self, cell: int) -> list[tuple[float, float]]:
        """Closed ring of (lon, lat), counter-clockwise from the south-west corner (GeoJSON's order)."""
        lat, lon = self.corners()
        row, col = divmod(cell, self.cols)
        south, north, west, east = lat[row], lat[row + 1], lon[col], lon[col + 1]
        ring = [(west, south), (east, south), (east, north), (west, north), (west, south)]
        return [(float(x), float(y)) for x, y in ring]

    def geohashes(self) -> list[str]:
        """The geohash of every cell's centre, eight letters. Source: the public-domain scheme of G. Niemeyer, 2008."""
        return [geohash(lat_deg, lon_deg, 8) for lat_deg, lon_deg in np.stack(self.centres(), axis=1).tolist()]

    def middle(self) -> str:
        """The geohash of the grid's middle."""
        return self.middle_of(0, 0, self.rows, self.cols)

    def middle_of(self, row: int, col: int, rows: int, cols: int) -> str:
        """The geohash of the middle of `rows` x `cols` cells, the south-western one at row and col."""
        lat, lon = self.corners()
        return geohash(float(lat[row] + lat[row + rows]) / 2, float(lon[col] + lon[col + cols]) / 2, 8)

    def geojson(self) -> dict[str, Any]:
        """FeatureCollection of the cells; a feature's `id` is the cell id. Coordinates have 5 decimals."""
        features = []
        for cell, name in enumerate(self.cell_ids()):
            ring = [[round(x, 5), round(y, 5)] for x, y in self.polygon(cell)]
            shape = {"type": "Polygon", "coordinates": [ring]}
            features.append({"type": "Feature", "id": name, "properties": {"cell": name}, "geometry": shape})
        return {"type": "FeatureCollection", "features": features}

    @classmethod
    def around(
        cls, lat_deg: Floats, lon_deg: Floats, *, cell_m: float, trim: float = 0.0005, bounds: Bounds | None = None
    ) -> "Grid":
        """The grid that holds the given places within `bounds`, without the outermost `trim` share at each side.

        Otherwise a single wrong coordinate would give a grid of millions of empty cells. Raises DataError when the grid
        is still too large.
        """
        if bounds:
            south, west, north, east = bounds
            within = (lat_deg >= south) & (lat_deg <= north) & (lon_deg >= west) & (lon_deg <= east)
            lat_deg, lon_deg = lat_deg[within], lon_deg[within]
        if len(lat_deg) == 0:
            raise DataError(
                "the file has no usable incident, so there is no place for a grid", "check its layout and bounds"
            )
        south, north = np.quantile(lat_deg, [trim, 1 - trim])
        west, east = np.quantile(lon_deg, [trim, 1 - trim])
        one_cell = cls(south_deg=float(south), west_deg=float(west), cell_m=cell_m, rows=1, cols=1)  # checks cell_m
        rows = math.floor((north - south) * one_cell.metres_per_degree[0] / cell_m) + 2
        per_lat, per_lon = _metres_per_degree(float(south), rows * cell_m)  # of the middle latitude
        cols = math.floor((east - west) * per_lon / cell_m) + 2
        if max(rows, cols) > MAX_SIDE or rows * cols > MAX_CELLS:
            raise DataError(
                f"{rows} x {cols} cells of {cell_m:g} m from latitude {south:.2f} to {north:.2f}, longitude {west:.2f} "
                f"to {east:.2f} are too many",
                f"{_AT_MOST}; if some places lie far from the others, correct them or leave them out by --bounds, else "
                "give a larger --cell-m",
            )
        margin_lat, margin_lon = cell_m / per_lat / 2, cell_m / per_lon / 2
        return cls(
            south_deg=round(float(south) - margin_lat, 6),
            west_deg=round(float(west) - margin_lon, 6),
            cell_m=cell_m,
            rows=rows,
            cols=cols,
        )


def _metres_per_degree(south_deg: float, height_m: float) -> tuple[float, float]:
    """(of latitude, of longitude) at the middle of a height above `south_deg`."""
    latitude = math.radians(south_deg)
    for _ in range(3):  # the middle depends on the scale, which depends on the middle
        sine = 1 - _ECCENTRICITY_SQUARED * math.sin(latitude) ** 2
        meridian = _SEMI_MAJOR_M * (1 - _ECCENTRICITY_SQUARED) / sine**1.5
        per_lat = math.radians(1) * meridian
        latitude = math.radians(south_deg + height_m / per_lat / 2)
    sine = 1 - _ECCENTRICITY_SQUARED * math.sin(latitude) ** 2
    per_lon = math.radians(1) * _SEMI_MAJOR_M / math.sqrt(sine) * math.cos(latitude)
    return per_lat, per_lon


def geohash(lat_deg: float, lon_deg: float, precision: int) -> str:
    """Geohash of one place: interleaved bisection bits of longitude and latitude, five to a letter.

    >>> geohash(57.64911, 10.40744, 11)
    'u4pruydqqvj'
    """
    south, north, west, east = -90.0, 90.0, -180.0, 180.0
    letters = []
    bits = 0
    for step in range(precision * 5):
        if step % 2 == 0:
            middle = (west + east) / 2
            upper = lon_deg >= middle
            west, east = (middle, east) if upper else (west, middle)
        else:
            middle = (south + north) / 2
            upper = lat_deg >= middle
            south, north = (middle, north) if upper else (south, middle)
        bits = bits << 1 | upper
        if step % 5 == 4:
            letters.append(_GEOHASH_ALPHABET[bits & 31])
    return "".join(letters)

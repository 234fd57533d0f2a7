"""Areas that people draw, as GeoJSON: an agency's own for the map, and masks, in which nothing is counted.

One rule says of cells and of incidents which lie inside. No coordinate of a mask leaves the file that it is in.
"""

import hashlib
from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.errors import ArtifactError, SettingsError
from schemas.files import read_json
from schemas.grid import Cells, Floats, Grid
from schemas.incidents import in_degrees

EXPORT = "export the areas as GeoJSON in degrees (WGS 84, EPSG:4326): a FeatureCollection of Polygon and MultiPolygon"
_BANDS, _LEAST_ONE_WAY = 1_000, 0.75  # most that a ring is cut into; share of its area that it goes around one way
Polygons = tuple[tuple[Floats, ...], ...]  # each its rings, outer and holes; a ring is closed, (n, 2) of lon, lat

_Position = Annotated[list[float], msgspec.Meta(min_length=2)]
_Ring = Annotated[list[_Position], msgspec.Meta(min_length=4)]
_Rings = Annotated[list[_Ring], msgspec.Meta(min_length=1)]


class _Polygon(msgspec.Struct, tag_field="type", tag="Polygon"):
    coordinates: _Rings


class _MultiPolygon(msgspec.Struct, tag_field="type", tag="MultiPolygon"):
    coordinates: Annotated[list[_Rings], msgspec.Meta(min_length=1)]


class FileFeature(msgspec.Struct, tag_field="type", tag="Feature"):
    """A feature of GeoJSON."""

    geometry: _Polygon | _MultiPolygon
    properties: dict[str, Any] | None = None

    def polygons(self, name: str) -> Polygons:
        """Raises SettingsError, which says what is wrong with the area of that name."""
        shape = self.geometry
        polygons = [shape.coordinates] if isinstance(shape, _Polygon) else shape.coordinates
        return tuple(tuple(_ring(ring, name) for ring in rings) for rings in polygons)


class Collection(msgspec.Struct, tag_field="type", tag="FeatureCollection"):
    """A file of GeoJSON."""

    features: Annotated[list[FileFeature], msgspec.Meta(min_length=1)]


def _ring(positions: list[list[float]], name: str) -> Floats:
    ring: Floats = np.array([position[:2] for position in positions])
    beyond = ring[(np.abs(ring) > (180, 90)).any(axis=1)]
    if len(beyond):
        raise SettingsError(
            f"area {name!r} has the place {beyond[0].tolist()}, which is not in degrees from -180 to 180 and -90 to 90",
            EXPORT,
        )
    if (ring[0] != ring[-1]).any():
        raise SettingsError(f"area {name!r} has a ring that is not closed", "end each ring at its first position")
    if (np.abs(np.diff(ring[:, 0])) > 180).any():
        raise SettingsError(f"area {name!r} crosses longitude 180", "split it there into the parts of a MultiPolygon")
    if _share_one_way(ring) < _LEAST_ONE_WAY:
        raise SettingsError(
            f"area {name!r} has a ring that crosses itself, and so does not hold all that it goes around",
            "give its corners in the order in which they lie along its border",
        )
    return ring


def _share_one_way(ring: Floats) -> float:
    """The area by the shoelace formula over that inside: 0 for a bow tie, whose halves go around two ways."""
    (x, y), ends = (ring - ring[0]).T, np.unique(ring[:, 1])  # between two corners no edge bends
    ends = ends[np.linspace(0, len(ends) - 1, min(len(ends), _BANDS)).astype(np.intp)]
    band, lon_deg = crossings([ring], (ends[:-1] + ends[1:]) / 2)
    order = np.lexsort((lon_deg, band))
    west, east = lon_deg[order].reshape(-1, 2).T
    inside = ((east - west) * np.diff(ends)[band[order][::2]]).sum()
    return float(abs((x[:-1] * y[1:] - x[1:] * y[:-1]).sum()) / 2 / inside) if inside > 0 else 1.0


def crossings(rings: Sequence[Floats], lat_deg: Floats) -> tuple[npt.NDArray[np.intp], Floats]:
    """Where a polygon's rings cross latitudes: the position of each in `lat_deg`, and the longitude; (crossings,) each.

    A place lies inside when an odd number of crossings lies at its longitude or west of it. An edge has its southern
    end and not its northern one, so polygons that share a border share no place.
    """
    edges = np.concatenate([np.stack([ring[:-1], ring[1:]], axis=1) for ring in rings])
    # From south to north, so that both neighbours of an edge compute the same crossing to the last bit.
    low, high = np.where((edges[:, 0, 1] <= edges[:, 1, 1])[:, None, None], edges, edges[:, ::-1]).swapaxes(0, 1)
    of_each = lat_deg[:, None]
    position, edge = np.nonzero((low[:, 1] <= of_each) & (of_each < high[:, 1]))
    (x, south), (east, north) = low[edge].T, high[edge].T
    return position, x + (lat_deg[position] - south) / (north - south) * (east - x)


LONGITUDE_FIRST = "its longitude and latitude are exchanged: write each place as longitude, latitude"
_RESERVED = ("All", "$__all")  # what Grafana calls every choice at once, in a page's address too


class Area(msgspec.Struct, frozen=True, eq=False):
    """A named part of a region. It equals itself alone, as arrays have no hash."""

    name: str
    polygons: Polygons


def read_areas(path: Path, name_property: str) -> list[Area]:
    """The areas of a GeoJSON file, by name. Raises SettingsError, which says what is wrong with which area."""
    collection = read_json(path, Collection, SettingsError, remedy=EXPORT)
    if collection is None:
        raise SettingsError(f"{path} does not exist", "name the GeoJSON file of your areas with --areas")
    areas = []
    for number, feature in enumerate(collection.features, start=1):
        properties = feature.properties or {}
        value = properties.get(name_property)
        name = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
        if not name or name in _RESERVED:
            present = ", ".join(sorted(properties)) or "no property at all"
            fault = f"area {number} has {value!r} as its name (property {name_property!r})"
            remedy = "give each area a text or a whole number as its name, or choose the property with --area-name"
            raise SettingsError(fault, f"{remedy}: {present}")
        areas.append(Area(name, feature.polygons(name)))
    areas.sort(key=lambda area: area.name)
    for name, same in groupby(areas, key=lambda area: area.name):
        if len(list(same)) > 1:
            remedy = "make one MultiPolygon of the parts of one area, or choose another property with --area-name"
            raise SettingsError(f"several areas of {path} are called {name!r}", remedy)
    return areas


def cells_inside(area: Area, grid: Grid) -> Cells:
    """Indices of the cells whose centre lies in the area.

    Areas that share a border share no cell, so that what is counted in each adds up: a centre on the border itself
    belongs to one of them, by the half-open rule of crossings to its west.
    """
    lat, lon = grid.centres()
    rows, cols = lat[:: grid.cols], lon[: grid.cols]
    inside = np.zeros((grid.rows, grid.cols), dtype=np.bool_)
    for rings in area.polygons:
        row, lon_deg = crossings(rings, rows)
        turns = np.zeros((grid.rows, grid.cols + 1), np.int64)
        np.add.at(turns, (row, np.searchsorted(cols, lon_deg)), 1)
        inside |= turns[:, :-1].cumsum(axis=1) % 2 == 1
    return np.flatnonzero(inside).astype(np.int32)


def is_exchanged(area: Area, grids: Sequence[Grid]) -> bool:
    """Whether an area without a cell would have some if its longitudes were its latitudes."""
    turned = Area(area.name, tuple(tuple(ring[:, ::-1] for ring in rings) for rings in area.polygons))
    return any(len(cells_inside(turned, grid)) for grid in grids)


def cells_of_areas(areas: Sequence[Area], grids: Sequence[Grid]) -> list[dict[str, Cells]]:
    """For each grid, the cells of every area that has some there, by name. Raises SettingsError for one without any."""
    inside = [{area.name: cells_inside(area, grid) for area in areas} for grid in grids]
    for area in areas:
        if not any(len(of_grid[area.name]) for of_grid in inside):
            places = np.concatenate([ring for rings in area.polygons for ring in rings])
            (west, south), (east, north) = places.min(axis=0), places.max(axis=0)
            raise SettingsError(
                f"area {area.name!r} holds no centre of a cell; it goes from longitude {west:.4f} to {east:.4f}, "
                f"latitude {south:.4f} to {north:.4f}",
                LONGITUDE_FIRST
                if is_exchanged(area, grids)
                else "leave it out if it lies elsewhere, or join it with a neighbour if it is smaller than a cell",
            )
    return [{name: cells for name, cells in of_grid.items() if len(cells)} for of_grid in inside]


def cells_pattern(grid: Grid, cells: npt.ArrayLike) -> str:
    """A regular expression of the cells' ids, row by row.

    >>> grid = Grid(south_deg=42.0, west_deg=-88.0, cell_m=1000.0, rows=3, cols=4)
    >>> cells_pattern(grid, [1, 2, 7])
    'r000c(001|002)|r001c(003)'
    """
    parted = (grid.cell_id(cell).split("c") for cell in np.sort(np.asarray(cells)).tolist())
    rows = groupby(parted, key=lambda pair: pair[0])
    return "|".join(f"{row}c({'|'.join(col for _, col in of_row)})" for row, of_row in rows)


_AT_ONCE = 10_000_000  # pairs of an incident and an edge


class Masks(msgspec.Struct, frozen=True):
    """The polygons of a file, and the first 16 hex digits of its SHA-256, which stand for them; '' without a file."""

    digest: str = ""
    polygons: Polygons = ()

    def hold(self, place: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
        """(n,) whether each place lies in one of them. place: (n, 2), see `fixed_places`."""
        lat_deg, lon_deg = in_degrees(place).T
        inside = np.zeros(len(place), np.bool_)
        for rings in self.polygons:
            corners = np.concatenate(rings)
            (west, south), (east, north) = corners.min(axis=0), corners.max(axis=0)
            near = np.flatnonzero((lat_deg >= south) & (lat_deg < north))
            near = near[(lon_deg[near] >= west) & (lon_deg[near] <= east)]
            for part in np.array_split(near, len(near) * len(corners) // _AT_ONCE + 1):
                position, crossed_deg = crossings(rings, lat_deg[part])
                is_west = crossed_deg <= lon_deg[part][position]
                inside[part] |= np.bincount(position[is_west], minlength=len(part)) % 2 == 1
        return inside


NO_MASKS = Masks()


def read_masks(path: Path | str | None) -> Masks:
    """The masks of a GeoJSON file; none without a path. Raises SettingsError, which names no coordinate."""
    if not path:
        return NO_MASKS
    try:
        content = Path(path).read_bytes()
        features = msgspec.json.decode(content, type=Collection).features
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"the masks {path} cannot be read ({error})", EXPORT) from error
    polygons: list[tuple[Floats, ...]] = []
    for number, feature in enumerate(features, start=1):
        try:
            polygons += feature.polygons("")
        except SettingsError:
            fault = "is not in degrees, has a ring that is not closed, crosses itself, or crosses longitude 180"
            raise SettingsError(f"area {number} of the masks {path} {fault}", EXPORT) from None
    return Masks(hashlib.sha256(content).hexdigest()[:16], tuple(polygons))


def refuse_other_masks(what: object, masked: str, given: str) -> None:
    """Raise ArtifactError unless `what` counts with the masks that are given. masked, given: digests."""
    if masked != given:
        own, other = (f"masks {digest}" if digest else "no masks" for digest in (masked, given))
        raise ArtifactError(
            f"{what} counts with {own}, and it is given {other}",
            "give the file of those masks (RISK_MASKS, --masks, or `masks` in a file of tasks), or train again with "
            "the present one and begin anew with `checkpoint --reset`",
        )


NEAR_M = 5000  # of a place whose name says where a cell is, as on the service's map
_MOST_NAMES = 3  # of one rectangle


class PlaceNames:
    """The named places of a GeoJSON collection, which say where cells of a grid are."""

    def __init__(self, streets: Mapping[str, Any], grid: Grid) -> None:
        points = [shape for shape in streets["features"] if shape["geometry"]["type"] == "Point"]
        degrees = np.array([point["geometry"]["coordinates"][:2] for point in points]).reshape(-1, 2)
        self.names: list[str] = [point["properties"]["name"] for point in points]
        self._lon, self._lat = degrees.T
        self._cells = grid.locate(self._lat, self._lon)[0]
        self._grid = grid

    def nearest(self, cells: npt.ArrayLike) -> list[str]:
        """Of each cell the name of the place nearest to its middle; '' where none lies within NEAR_M."""
        if not self.names:
            return [""] * len(np.asarray(cells))
        far_m = self._metres(cells)
        pairs = zip(far_m.argmin(axis=0).tolist(), far_m.min(axis=0).tolist(), strict=True)
        return [self.names[place] if far < NEAR_M else "" for place, far in pairs]

    def of_rectangle(self, cells: Cells, above: Sequence[int] = ()) -> str:
        """As `Plymouth, Whitpain and 4 more places`: the names in it, those nearest to most of the cells `above` first.

        Of a single cell, and where no name is in it, the nearest place within NEAR_M; else ''.
        """
        targets = list(above) or [int(cells[len(cells) // 2])]
        if not self.names:
            return ""
        far_m = self._metres(targets)
        votes = np.bincount(far_m.argmin(axis=0), minlength=len(self.names))
        order = np.lexsort((far_m.min(axis=1), -votes))
        inside = order[np.isin(self._cells[order], cells)]
        said = [self.names[place] for place in inside] or [name for name in self.nearest(targets[:1]) if name]
        if len(said) > _MOST_NAMES:
            more = len(said) - _MOST_NAMES
            said[_MOST_NAMES:] = [f"{more} more {'place' if more == 1 else 'places'}"]
        return " and ".join(filter(None, (", ".join(said[:-1]), *said[-1:])))

    def _metres(self, cells: npt.ArrayLike) -> Floats:
        """(places, cells) from each place to the middle of each cell."""
        (lat, lon), (per_lat, per_lon) = self._grid.centres(), self._grid.metres_per_degree
        north, east = self._lat[:, None] - lat[np.asarray(cells)], self._lon[:, None] - lon[np.asarray(cells)]
        return np.asarray(np.hypot(north * per_lat, east * per_lon))


def cells_in_words(cells: Cells, grid: Grid) -> str:
    """The corners of a rectangle of cells, as `r003c019 to r010c026`."""
    first, last = (grid.cell_id(cell) for cell in cells[[0, -1]].tolist())
    return first if first == last else f"{first} to {last}"

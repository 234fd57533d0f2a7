"""Polygons of GeoJSON, and where they cross a latitude: so one rule says of cells and of incidents which lie inside."""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.errors import SettingsError
from schemas.grid import Floats

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

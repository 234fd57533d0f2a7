"""Masks: areas whose incidents are not counted, as of shelters. No coordinate of theirs leaves the file they are in."""

import hashlib
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from schemas.errors import ArtifactError, SettingsError
from schemas.grid import Floats
from schemas.incidents import in_degrees
from schemas.polygons import EXPORT, Collection, Polygons, crossings

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

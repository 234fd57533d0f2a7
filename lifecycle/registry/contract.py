"""What a registry of models keeps of a region, and what it can do. A folder and MLflow are the two that there are.

A registry only keeps: which change is allowed is said in rules.py, and that what it gives back is what was registered
is checked by copying.py.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Protocol

import msgspec

from schemas.left_behind.pointer import Version

Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]


class RegionState(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A region's versions and their roles. Equal states change nothing."""

    manifests: dict[Version, Sha256] = {}  # of each registered version, the sha256 of its manifest
    champion: Version | None = None
    challenger: Version | None = None
    before: tuple[Version, ...] = ()  # earlier champions, the last one newest
    retired: tuple[Version, ...] = ()

    def __post_init__(self) -> None:
        """Raises ValueError, which a decoder turns into its own error, for a role of a version that is not there."""
        for role in ("champion", "challenger"):
            version = getattr(self, role)
            if version is not None and version not in self.manifests:
                raise ValueError(f"the {role} {version} is not among the registered versions")

    def role_of(self, version: str) -> str:
        """`champion`, `challenger`, `retired` or nothing."""
        if version in self.retired:
            return "retired"
        return "champion" if version == self.champion else "challenger" if version == self.challenger else ""


class ModelRegistry(Protocol):
    """Each method raises RegistryError when the registry cannot be used."""

    def regions(self) -> list[str]:
        """The regions with a registered version, sorted."""

    def state(self, region: str) -> RegionState:
        """The region's state; an empty one for a region that it does not know."""

    def add(
        self, region: str, folder: Path, digest: str, announce: Callable[[], None], evaluation: Path | None = None
    ) -> None:
        """Keep the verified artifact in `folder`, whose manifest has that sha256. Repeating it is allowed.

        `announce` is called before the version appears, if it is new. evaluation: a folder of `models evaluate`, whose
        page is kept beside it.
        """

    def change(self, region: str, rule: Callable[[RegionState], RegionState]) -> RegionState:
        """Replace the region's roles by what `rule` makes of its state, and give the new state."""

    def fetch(self, region: str, version: str, to: Path) -> None:
        """Put the files of a registered version into the empty folder `to`, unchecked."""

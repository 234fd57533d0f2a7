"""What a registry of models keeps of a region, and what it can do. A folder and MLflow are the two that there are.

A registry only keeps: which change is allowed is said in rules.py, and that what it gives back is what was registered
is checked by copying.py.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from schemas.left_behind.region_state import RegionState


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

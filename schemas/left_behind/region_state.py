"""What a registry says of a region: its versions, and which of them has a role.

<registry>/<region>/state.json    of a registry that is a folder; `lifecycle` writes it, `retention` drops versions
"""

from typing import Annotated

import msgspec

from schemas.left_behind.pointer import Version

STATE = "state.json"
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

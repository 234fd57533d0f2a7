"""The roster: which artifact scores which region. The job decides; its workers and the processes beside it read that.

<checkpoint>/roster.json    region -> entry
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from schemas.errors import ArtifactError, SettingsError
from schemas.files import read_json, replace_file, write_errors


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One region's artifact in force, and the folder of the challenger that is scored beside it, or nothing."""

    folder: str
    version: str
    fingerprint: str
    challenger: str = ""


def roster_path(checkpoint: Path) -> Path:
    return checkpoint.absolute() / "roster.json"


def read_roster(path: Path) -> dict[str, Entry]:
    """Empty before the first was published. Raises ArtifactError when it cannot be read."""
    return read_json(path, dict[str, Entry], ArtifactError, remedy="restore it, or start with a new checkpoint") or {}


def write_roster(path: Path, roster: Mapping[str, Entry]) -> None:
    """Raises SettingsError."""
    with write_errors(SettingsError, f"RISK_CHECKPOINT={path.parent}"):
        replace_file(path, msgspec.json.format(msgspec.json.encode(roster, order="sorted")))

"""When a run of the archive last came to its end, for the alert that it no longer does.

<checkpoint>/archived.json
"""

from pathlib import Path

import msgspec

from schemas.errors import CheckpointError
from schemas.files import read_small_json, replace_file, write_errors


class Ended(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    at_s: int  # epoch


def ended_path(checkpoint: Path) -> Path:
    return checkpoint / "archived.json"


def read_ended(checkpoint: Path) -> Ended | None:
    """None where nobody archives. Raises ArtifactError when it cannot be read."""
    return read_small_json(ended_path(checkpoint), Ended, remedy="delete it: the next run writes it")


def keep_ended(checkpoint: Path, at_s: int) -> None:
    """Raises CheckpointError."""
    path = ended_path(checkpoint)
    with write_errors(CheckpointError, path):
        replace_file(path, msgspec.json.encode(Ended(at_s=at_s)) + b"\n")

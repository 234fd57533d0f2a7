"""When a run of the archive last came to its end, for the alert that it no longer does.

<checkpoint>/archived.json
"""

from pathlib import Path

import msgspec

from schemas.errors import CheckpointError
from schemas.files import read_small_json, replace_file, write_errors


class ArchiveRun(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    at_s: int  # when it came to its end, epoch seconds


def _path(checkpoint: Path) -> Path:
    return checkpoint / "archived.json"


def read_archive_run(checkpoint: Path) -> ArchiveRun | None:
    """None where nobody archives. Raises ArtifactError when it cannot be read."""
    return read_small_json(_path(checkpoint), ArchiveRun, remedy="delete it: the next run writes it")


def keep_archive_run(checkpoint: Path, at_s: int) -> None:
    """Raises CheckpointError."""
    path = _path(checkpoint)
    with write_errors(CheckpointError, path):
        replace_file(path, msgspec.json.encode(ArchiveRun(at_s=at_s)) + b"\n")

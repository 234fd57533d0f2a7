"""The pointer of a region: which of its versions scores, and which one may be tried beside it.

    <artifacts>/<region>/pointer.json    {"champion":"20261101T040000Z-1a2b3c4d","challenger":null}

`python -m lifecycle promote` writes it, and the job reads it.
"""

from pathlib import Path
from typing import Annotated

import msgspec

from schemas.errors import ArtifactError
from schemas.files import read_small_json, replace_file, write_errors

Version = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}\Z")]
POINTER = "pointer.json"


class Pointer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Versions of one region by their role.

    >>> Pointer(champion="20261101T040000Z-1a2b3c4d").challenger is None
    True
    """

    champion: Version
    challenger: Version | None = None


def pointer_path(artifacts: Path, region: str) -> Path:
    return artifacts / region / POINTER


def read_pointer(artifacts: Path, region: str) -> Pointer | None:
    """The region's pointer; None when it has none. Raises ArtifactError when it cannot be used."""
    remedy = "run `python -m lifecycle promote REGION`, which writes it again"
    return read_small_json(pointer_path(artifacts, region), Pointer, remedy=remedy)


def write_pointer(artifacts: Path, region: str, pointer: Pointer) -> None:
    """Put the pointer in place in one step. Raises ArtifactError."""
    path = pointer_path(artifacts, region)
    with write_errors(ArtifactError, path):
        replace_file(path, msgspec.json.encode(pointer) + b"\n")

"""What the artifacts hold that are not in force. Each is read once, and again when its files have changed."""

import os
from collections.abc import Collection
from pathlib import Path

import msgspec

from models.artifact.artifact import Artifact, read_artifact
from schemas.errors import ArtifactError
from schemas.spec import Spec

Stamp = tuple[tuple[str, int, int, int], ...]


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """What decides whether an artifact may come into force."""

    version: str
    spec: Spec
    cutoff_s: int
    network_fault: str | None


class Candidates:
    """Remembers by folder what was found in it, or why it cannot be used, for as long as its files stay as they are.

    The artifacts themselves are not kept: refused ones may lie there for months.
    """

    def __init__(self) -> None:
        self._found: dict[Path, tuple[Stamp, Candidate | str]] = {}

    def look(self, folder: Path) -> tuple[Candidate, Artifact | None]:
        """What the folder holds, and the artifact itself if it was read just now. Raises ArtifactError."""
        stamp = stamp_of(folder)  # before it is read: what is written meanwhile shows at the next look
        artifact, known = None, self._found.get(folder)
        if known is None or known[0] != stamp:
            artifact, found = _read(folder)
            self._found[folder] = known = stamp, found
        if isinstance(known[1], str):
            raise ArtifactError(known[1])
        return known[1], artifact

    def forget_all_but(self, folders: Collection[Path]) -> None:
        self._found = {folder: known for folder, known in self._found.items() if folder in folders}


def stamp_of(folder: Path) -> Stamp:
    """Sizes and times of a folder and its files: another one when a file is written, or its rights change."""
    try:
        with os.scandir(folder) as entries:
            files = [("", folder.lstat()), *((entry.name, entry.stat(follow_symlinks=False)) for entry in entries)]
    except OSError:
        return ()
    return tuple(sorted((name, file.st_size, file.st_mtime_ns, file.st_ctime_ns) for name, file in files))


def _read(folder: Path) -> tuple[Artifact | None, Candidate | str]:
    try:
        artifact = read_artifact(folder)
    except ArtifactError as error:
        return None, str(error)
    except OSError as error:
        return None, f"{folder} cannot be read ({error.strerror}): check its owner and mode"
    return artifact, Candidate(
        version=artifact.version,
        spec=artifact.spec,
        cutoff_s=artifact.manifest.data.cutoff_s,
        network_fault=artifact.network_fault,
    )

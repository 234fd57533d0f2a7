"""Looks into the folders of artifacts that are not in force. Reads each once, and again when its files have changed."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from models.artifact.artifact import Artifact, read_artifact
from models.artifact.manifest import Manifest
from schemas.errors import ArtifactError

Stamp = tuple[tuple[str, int, int, int], ...]


class FoundArtifact(NamedTuple):
    """The parts of an artifact that decide whether it may come into force."""

    manifest: Manifest
    network_fault: str | None


class ArtifactScan:
    """Remembers by folder what it contains, or why it cannot be used, until its files change.

    It does not keep the artifacts themselves: refused ones may lie there for months.
    """

    def __init__(self) -> None:
        self._found: dict[Path, tuple[Stamp, FoundArtifact | ArtifactError]] = {}

    def look(self, folder: Path) -> tuple[FoundArtifact, Artifact | None]:
        """What the folder contains, and the artifact itself if it was read just now. Raises ArtifactError."""
        stamp = stamp_of(folder)  # before reading: a change during the read shows at the next look
        artifact, known = None, self._found.get(folder)
        if known is None or known[0] != stamp:
            found: FoundArtifact | ArtifactError
            try:
                artifact = read_artifact(folder)
                found = FoundArtifact(artifact.manifest, artifact.network_fault)
            except ArtifactError as error:
                found = error.with_traceback(None)
            except OSError as error:
                found = ArtifactError(f"{folder} cannot be read ({error.strerror})", "check its owner and mode")
            self._found[folder] = known = stamp, found
        if isinstance(known[1], ArtifactError):
            raise type(known[1])(*known[1].args)  # a copy: a traceback would keep other artifacts in memory
        return known[1], artifact

    def forget_all_but(self, folders: Collection[Path]) -> None:
        self._found = {folder: known for folder, known in self._found.items() if folder in folders}


def stamp_of(folder: Path) -> Stamp:
    """Sizes and times of a folder and its files. It changes when a file is written, or its permissions change."""
    try:
        with os.scandir(folder) as entries:
            files = [("", folder.lstat()), *((entry.name, entry.stat(follow_symlinks=False)) for entry in entries)]
    except OSError:
        return ()
    return tuple(sorted((name, file.st_size, file.st_mtime_ns, file.st_ctime_ns) for name, file in files))

"""Bytes and arrays of files that are not trusted yet."""

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.errors import ArtifactError

MAX_FILE_BYTES = 256 * 1024 * 1024


def read_plain(path: Path, most_bytes: int) -> bytes:
    """The bytes of a plain file. Raises ArtifactError when it is missing, a link, or larger."""
    if path.is_symlink() or not path.is_file():
        raise ArtifactError(f"{path} is missing or no plain file: copy the artifact again")
    with path.open("rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ArtifactError(f"{path} is larger than {most_bytes} bytes: copy the artifact again")
    return content


def pack_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Arrays as the bytes of an .npz without pickles; equal arrays give equal bytes."""
    packed = io.BytesIO()
    np.savez_compressed(packed, allow_pickle=False, **arrays)
    return packed.getvalue()


def unpack_arrays(packed: bytes, path: Path) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an .npz. Raises ArtifactError for anything that is not plain numbers of a sane size."""
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            if sum(member.file_size for member in archive.infolist()) > MAX_FILE_BYTES:
                raise ArtifactError(f"{path} unpacks to more than {MAX_FILE_BYTES} bytes: not an artifact of ours")
        with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise ArtifactError(f"{path} cannot be used ({error}): train again") from error


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

"""Arrays as the bytes of a file, and back from bytes that are not trusted yet."""

import io
import math
import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.errors import ArtifactError
from schemas.limits import MAX_ARRAYS

_DIRECTORY_ENTRY = b"PK\x01\x02"  # before each name in a zip's list of contents
_NPY_HEAD = re.compile(
    rb"\x93NUMPY\x01\x00(?s:..)\{'descr': '([<|][fiu][1248])', 'fortran_order': (True|False), "
    rb"'shape': \(((?:[0-9]{1,12},? ?){0,4})\), \} *\n"
)


def pack_arrays(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Arrays as the bytes of an .npz without pickles; equal arrays give equal bytes."""
    packed = io.BytesIO()
    np.savez_compressed(packed, allow_pickle=False, **arrays)
    return packed.getvalue()


def unpack_arrays(packed: bytes, path: Path, most_bytes: int) -> dict[str, npt.NDArray[Any]]:
    """The arrays of an .npz, read-only. Raises ArtifactError for anything that is not plain numbers.

    `numpy.load` is not used: it takes memory for whatever shape a header claims. Here no more than `most_bytes` are
    unpacked, and an array is a view of bytes that are there.
    """
    if packed.count(_DIRECTORY_ENTRY) > MAX_ARRAYS:
        raise ArtifactError(f"{path} holds more than {MAX_ARRAYS} arrays, as no artifact of ours does", "train again")
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > most_bytes:
                raise ArtifactError(
                    f"{path} unpacks to more than {most_bytes} bytes, as no artifact of ours does", "train again"
                )
            return {member.filename.removesuffix(".npy"): _array(_content(archive, member)) for member in members}
    except (ValueError, EOFError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise ArtifactError(f"{path} cannot be used ({error})", "train again") from error


def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"compressed by method {member.compress_type}")
    with archive.open(member) as stream:
        content = stream.read(member.file_size)  # a bare read() would unpack all that is there, whatever was declared
    if len(content) != member.file_size:
        raise ValueError(f"an array has {len(content)} bytes instead of {member.file_size}")
    return content


def _array(content: bytes) -> npt.NDArray[Any]:
    """One .npy of plain little-endian numbers, version 1.0, at most four dimensions."""
    head = _NPY_HEAD.match(content)
    if head is None:
        raise ValueError("an array is not one of plain numbers")
    dtype = np.dtype(head[1].decode())
    shape = tuple(int(side) for side in re.findall(rb"[0-9]+", head[3]))
    if math.prod(shape) * dtype.itemsize != len(content) - head.end():
        raise ValueError(f"an array of shape {shape} has {len(content) - head.end()} bytes")
    flat: npt.NDArray[Any] = np.frombuffer(content, dtype, offset=head.end())
    return flat.reshape(shape, order="F" if head[2] == b"True" else "C")

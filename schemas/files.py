"""Files that are never seen half written, that only grow, or are not trusted yet; arrays and instants as text."""

import fcntl
import hashlib
import io
import logging
import math
import os
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from schemas.errors import ArtifactError, RiskError, SettingsError, SinkRefused
from schemas.limits import MAX_ARRAYS

if TYPE_CHECKING:
    import numpy.typing as npt  # a check of health runs every few seconds and needs no array

log = logging.getLogger(__name__)
_BLOCK_BYTES = 65_536
_MAX_JSON_BYTES = 65_536
T = TypeVar("T")
FileState = tuple[int, int, int]  # inode, size and time of a file


def replace_file(path: Path, content: bytes, *, outlives_power_cut: bool = True, mode: int | None = None) -> None:
    """Put `content` at `path` in one step: a reader, and the next start after a crash, find the old file or the new.

    Without `outlives_power_cut` it does not wait for the disk: for files that are written again within seconds.
    mode: who may read it, from the first moment; without it the umask says so.
    Creates the folder when it is missing. Raises OSError.
    """
    part = path.with_name(f".{path.name}.part")
    path.parent.mkdir(parents=True, exist_ok=True)
    with part.open("wb") as file:
        file.write(content)
        if mode is not None:
            os.fchmod(file.fileno(), mode)
        if outlives_power_cut:
            file.flush()
            os.fsync(file.fileno())
    part.replace(path)


def make_writable(folder: Path) -> None:
    """Make a folder that a command will write into, and a file in it that is gone at once. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryFile(dir=folder):
        pass


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: without it, a power cut can lose a new file. Raises OSError."""
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def sync_files(folder: Path) -> None:
    """Make the files in a folder durable, and their names. Raises OSError."""
    for path in folder.iterdir():
        sync_folder(path)  # a file is synced as a folder is
    sync_folder(folder)


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Wait for the lock file at `path`, then hold it. The system frees it when the process ends. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def open_for_append(path: Path) -> FileIO:
    """Lock `path` and open it for appending after its last whole line. Raises OSError, and SinkRefused if locked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = FileIO(path, "a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        size = os.fstat(file.fileno()).st_size
        whole = _whole_bytes(file, size)
        if whole < size:
            log.warning("cut %d bytes of an incomplete line off %s", size - whole, path)
            file.truncate(whole)
        sync_folder(path.parent)
    except BlockingIOError as error:
        file.close()
        raise SinkRefused(f"another process is writing {path}", remedy="stop it, or choose another path") from error
    except OSError:
        file.close()
        raise
    return file


def _whole_bytes(file: FileIO, size: int) -> int:
    """Bytes up to and with the last newline, 0 without one."""
    end = size
    while end > 0:
        start = max(0, end - _BLOCK_BYTES)
        newline = os.pread(file.fileno(), end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


@contextmanager
def write_errors(
    kind: type[RiskError], what: object, *, remedy: str = "make room, or correct its permissions"
) -> Iterator[None]:
    """An OSError inside is raised as `kind`, which says that `what` cannot be written."""
    try:
        yield
    except OSError as error:
        raise kind(f"{what} cannot be written ({error.strerror})", remedy) from error


def read_json(path: Path, kind: type[T], error: type[RiskError], *, remedy: str) -> T | None:
    """The content of a JSON file; None when there is no such file. Raises `error` when it cannot be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as fault:
        raise error(f"{path} cannot be read ({fault})", remedy) from fault


def read_regular_file(path: Path, most_bytes: int) -> bytes:
    """The bytes of a regular file. Raises ArtifactError when it is missing, a link, unreadable, or larger."""
    if path.is_symlink() or not path.is_file():
        raise ArtifactError(f"{path} is missing or no regular file", "copy the artifact again")
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read ({error.strerror})", "check its owner and mode") from error
    if len(content) > most_bytes:
        raise ArtifactError(f"{path} is larger than {most_bytes} bytes", "copy the artifact again")
    return content


def read_small_json(path: Path, kind: type[T], *, remedy: str) -> T | None:
    """The content of a JSON file of at most 64 KiB; None without one. Raises ArtifactError when it cannot be used."""
    if not path.exists() and not path.is_symlink():
        return None
    try:
        return msgspec.json.decode(read_regular_file(path, _MAX_JSON_BYTES), type=kind)
    except ArtifactError as error:
        raise ArtifactError(error.message, remedy) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RiskError) as error:
        raise ArtifactError(f"{path} cannot be used ({error})", remedy) from error


def file_state(path: Path) -> FileState | None:
    """What changes when a file does; None without one."""
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_ino, state.st_size, state.st_mtime_ns


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


_DIRECTORY_ENTRY = b"PK\x01\x02"  # before each name in a zip's list of contents
_NPY_HEAD = re.compile(
    rb"\x93NUMPY\x01\x00(?s:..)\{'descr': '([<|][fiu][1248])', 'fortran_order': (True|False), "
    rb"'shape': \(((?:[0-9]{1,12},? ?){0,4})\), \} *\n"
)


def pack_arrays(arrays: "Mapping[str, npt.NDArray[Any]]") -> bytes:
    """Arrays as the bytes of an .npz without pickles; equal arrays give equal bytes."""
    import numpy as np

    packed = io.BytesIO()
    np.savez_compressed(packed, allow_pickle=False, **arrays)
    return packed.getvalue()


def unpack_arrays(packed: bytes, path: Path, most_bytes: int) -> "dict[str, npt.NDArray[Any]]":
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


def _array(content: bytes) -> "npt.NDArray[Any]":
    """One .npy of plain little-endian numbers, version 1.0, at most four dimensions."""
    import numpy as np

    head = _NPY_HEAD.match(content)
    if head is None:
        raise ValueError("an array is not one of plain numbers")
    dtype = np.dtype(head[1].decode())
    shape = tuple(int(side) for side in re.findall(rb"[0-9]+", head[3]))
    if math.prod(shape) * dtype.itemsize != len(content) - head.end():
        raise ValueError(f"an array of shape {shape} has {len(content) - head.end()} bytes")
    flat: npt.NDArray[Any] = np.frombuffer(content, dtype, offset=head.end())
    return flat.reshape(shape, order="F" if head[2] == b"True" else "C")


STAMP = "%Y%m%dT%H%M%SZ"  # in names of files, and of versions at their beginning


def instant_ms(text: str, *, option: str, now_s: float) -> int:
    """Epoch milliseconds of `earliest`, `latest`, or a time with an offset. Raises SettingsError."""
    if text in ("earliest", "latest"):
        return 0 if text == "earliest" else int(now_s * 1000)
    try:
        when = datetime.fromisoformat(text)
    except ValueError as error:
        remedy = "write earliest, latest, or a time like 2026-11-25T06:00:00Z"
        raise SettingsError(f"{option} {text} is not a time", remedy) from error
    if when.tzinfo is None:
        raise SettingsError(f"{option} {text} has no offset", remedy="add Z for UTC, or an offset like -06:00")
    return int(when.timestamp() * 1000)


def instant_text(epoch_s: float) -> str:
    """The instant in the form that `instant_ms` reads."""
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def stamp(epoch_s: float) -> str:
    """`20261101T040000Z`."""
    return datetime.fromtimestamp(epoch_s, UTC).strftime(STAMP)

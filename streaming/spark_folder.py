"""The folder in which Spark keeps a checkpoint's offsets, commits and counts: on a disk, or in an object store.

<checkpoint>/spark is that folder, a link to it, or a file with its address, `s3a://BUCKET/FOLDER`: then Spark's workers
on other machines reach it, too. All else beside it stays with the driver.

What Spark does not keep, shuffled messages, libraries and sockets, it writes in a scratch folder of this machine. A job
that is killed leaves it full. So nobody else may read it, and the next start empties it. It is not in the checkpoint,
which may lie on a network's disk, and is backed up.
"""

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.errors import CheckpointError
from schemas.files import replace_file, write_errors

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo, FileSystem

OBJECT_STORE = "s3a://"


def spark_address(checkpoint: Path) -> str:
    """The folder as Spark on any machine finds it."""
    place = checkpoint / "spark"
    return place.read_text(encoding="utf-8").strip() if place.is_file() else str(place.resolve())


@dataclass(frozen=True, slots=True)
class SparkFolder:
    """Read and cleared here, written by Spark. An object store that does not answer raises CheckpointError.

    files, root: the file system, and the folder in it.
    """

    address: str
    files: "FileSystem"
    root: str

    @classmethod
    def of(cls, checkpoint: Path) -> "SparkFolder":
        return cls.at(spark_address(checkpoint))

    @classmethod
    def at(cls, address: str) -> "SparkFolder":
        """Keys, region and endpoint of an object store come from AWS's usual variables of the environment."""
        from pyarrow.fs import LocalFileSystem  # a tenth of a second that other commands save

        if not address.startswith(OBJECT_STORE):
            return cls(address, LocalFileSystem(), address)
        bucket, _, folder = address.removeprefix(OBJECT_STORE).partition("/")
        with _reached(address):
            return cls(address, _object_store(bucket), f"{bucket}/{folder}")

    def listed(self, *below: str, deep: bool = False) -> "list[FileInfo]":
        """The files of a folder, with those of its folders if `deep`; none when it does not exist."""
        from pyarrow.fs import FileSelector

        selector = FileSelector("/".join((self.root, *below)), allow_not_found=True, recursive=deep)
        with _reached(self.address):
            return [info for info in self.files.get_file_info(selector) if info.is_file]

    def has(self, *below: str) -> bool:
        with _reached(self.address):
            return bool(self.files.get_file_info("/".join((self.root, *below))).is_file)

    def text(self, *below: str) -> str:
        """Raises FileNotFoundError, UnicodeDecodeError."""
        path = "/".join((self.root, *below))
        with _reached(self.address), self.files.open_input_stream(path, compression=None) as file:
            return bytes(file.read()).decode()

    def write(self, content: bytes, *below: str) -> None:
        with _reached(self.address), self.files.open_output_stream("/".join((self.root, *below))) as file:
            file.write(content)

    def delete(self, info: "FileInfo") -> None:
        with _reached(self.address):
            self.files.delete_file(info.path)


@cache
def _object_store(bucket: str) -> "FileSystem":
    """One client for a bucket: it looks up its region."""
    from pyarrow.fs import FileSystem

    return FileSystem.from_uri(f"s3://{bucket}")[0]


@contextmanager
def _reached(address: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        fault = f"{address}, where Spark's state is, cannot be reached ({str(error).splitlines()[0][:300]})"
        raise CheckpointError(fault, remedy="nothing is lost: start again once it can") from error


def is_stored(checkpoint: Path, shared: str) -> bool:
    """Whether Spark's state is in an object store, or will be."""
    return any(place.startswith(OBJECT_STORE) for place in (shared, spark_address(checkpoint)))


def refuse_unshared(shared: str) -> None:
    """Raise CheckpointError where Spark's state could not begin in `shared`: a file is written there and removed."""
    if shared.startswith(OBJECT_STORE):
        folder = SparkFolder.at(shared.rstrip("/"))
        folder.write(b"", "tried")
        for info in folder.listed():
            if info.base_name == "tried":
                folder.delete(info)
        return
    with _shared_errors(shared), tempfile.TemporaryFile(dir=shared):
        pass


def place_state(checkpoint: Path, shared: str, name: str) -> None:
    """Where there is no state yet, begin it in `shared` as the folder `name`. The caller holds the lock.

    shared: a folder, an address of an object store, or empty. Raises CheckpointError when the state is away, or lies
    on this machine alone though it is to be shared.
    """
    place = checkpoint / "spark"
    if place.is_file():
        if not SparkFolder.of(checkpoint).listed(deep=True):
            fault = f"{place} leads to {spark_address(checkpoint)}, where nothing is"
            raise CheckpointError(fault, remedy="bring it back; `checkpoint --reset` begins anew")
        return
    if place.is_symlink() and not place.exists():
        fault = f"{place} leads to {place.readlink()}, which is not there"
        raise CheckpointError(fault, remedy="mount the shared folder, then start again")
    if not shared or place.is_symlink():
        return
    goes_away = shared.startswith(OBJECT_STORE)
    home = f"{shared.rstrip('/')}/{name}" if goes_away else str(Path(shared).absolute() / name)
    if place.exists():
        leads = f"a file with the line {home}" if goes_away else "a link to it"
        fault = f"{place} lies on this machine alone, and RISK_SPARK_STATE={shared} is to be shared"
        raise CheckpointError(fault, remedy=f"stop the job, move {place} to {home}, and make {place} {leads}")
    if goes_away:
        SparkFolder.at(home).write(b"", "begun")  # an object store knows no empty folder
        with write_errors(CheckpointError, place):
            replace_file(place, f"{home}\n".encode())
        return
    with _shared_errors(shared):
        Path(home).mkdir()
        place.symlink_to(home)


def _shared_errors(shared: str) -> AbstractContextManager[None]:
    return write_errors(CheckpointError, f"RISK_SPARK_STATE={shared}", remedy="make it, and let this user write")


def scratch_of(checkpoint: Path) -> Path:
    """Of the jobs on one checkpoint that one user starts."""
    name = sha256(f"{os.getuid()} {checkpoint.resolve()}".encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir(), f"incident-risk-{name}")


def emptied_scratch(checkpoint: Path) -> Path:
    """The folder, without what a job that was killed left there. The caller holds the checkpoint's lock.

    Raises CheckpointError when it cannot be made, or is not ours alone: anybody may write beside it.
    """
    folder = scratch_of(checkpoint)
    remedy = "remove it, or set TMPDIR to another folder that this user may write"
    with write_errors(CheckpointError, folder, remedy=remedy):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = folder.lstat()
        if not stat.S_ISDIR(state.st_mode) or state.st_uid != os.getuid():
            raise CheckpointError(f"{folder}, for what Spark shuffles, is a link or another user's", remedy)
        folder.chmod(0o700)
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)  # Java may still be at its own end, and remove it too
            else:
                path.unlink(missing_ok=True)
    return folder

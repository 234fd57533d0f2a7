"""The folder in which Spark keeps a checkpoint's offsets, commits and counts: on a disk, or in an object store.

<checkpoint>/spark is that folder, a link to it, or a file with its address, `s3a://BUCKET/FOLDER`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from schemas.errors import CheckpointError

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

"""Where lines go: the contract of a sink, a file, a list for tests, and the choice by settings."""

import fcntl
import logging
import os
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Protocol

from schemas.errors import PipelineError, SettingsError, SinkRefused, SinkUnavailable
from streaming.settings import Settings

FILE_PREFIX = "file:"

_BLOCK_BYTES = 65_536
_NO_USE_TO_RETRY = (PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteReport:
    """What one write took. `dropped` points were refused by the store for good; all others are durable."""

    lines: int
    bytes: int
    requests: int = 0  # that were acknowledged
    retries: int = 0
    dropped: int = 0


class Sink(Protocol):
    """Takes line protocol. One thread uses a sink; points are idempotent, so a failed write may be repeated."""

    @property
    def trouble(self) -> str:
        """What the store says, or that it does not answer, while a write has been tried again for some seconds."""

    def check(self) -> None:
        """See that the target exists and may be written. Raises SinkRefused or SinkUnavailable with the remedy."""

    def write(self, lines: bytes) -> WriteReport:
        """Store `lines`, each ended by a newline; returns when they are durable. Without any it asks as `check` does.

        Raises SinkRefused when repeating is of no use, SinkUnavailable when the tries are used up, PipelineError
        when the last line has no end.
        """

    def close(self) -> None:
        """Release what is open; any number of times."""


def open_sink(settings: Settings) -> Sink:
    """The sink that `settings.sink` names. Raises SettingsError when there is no such sink."""
    if settings.sink == "influxdb":
        from streaming.influx import InfluxSink  # a file needs no client

        return InfluxSink(settings)
    path = settings.sink.removeprefix(FILE_PREFIX)
    if not path or path == settings.sink:
        raise SettingsError(f"sink {settings.sink!r} is not known: use influxdb, or file:PATH for line protocol")
    return FileSink(Path(path).expanduser())


def count_lines(lines: bytes) -> int:
    """Lines in `lines`. Raises PipelineError when the last one has no end: a store would glue the next to it."""
    if lines and not lines.endswith(b"\n"):
        raise PipelineError(f"the last line has no newline ({lines[-60:]!r}): hand over whole lines")
    return lines.count(b"\n")


class FileSink:
    """Appends to one file, on disk before `write` returns.

    A crash can leave half a line at the end: it is cut off when the file is opened again, and Spark repeats the
    batch that it belonged to. A lock keeps a second job from writing between our lines.
    """

    trouble = ""  # a file is not tried again

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: FileIO | None = None

    def __repr__(self) -> str:
        return f"FileSink({str(self._path)!r})"

    def check(self) -> None:
        self._opened()

    def write(self, lines: bytes) -> WriteReport:
        count = count_lines(lines)
        file = self._opened()
        rest = memoryview(lines)
        try:
            while rest:
                rest = rest[file.write(rest) :]
            os.fsync(file.fileno())
        except OSError as error:
            self.close()  # the next write opens it again and cuts off what is torn
            raise SinkUnavailable(f"{self._path} cannot be written ({error.strerror}): make room for it") from error
        return WriteReport(lines=count, bytes=len(lines), requests=1)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _opened(self) -> FileIO:
        if self._file is None:
            try:
                self._file = open_whole(self._path)
            except _NO_USE_TO_RETRY as error:
                raise SinkRefused(
                    f"{self._path} cannot be opened for writing ({error.strerror}): choose another path"
                ) from error
            except OSError as error:
                raise SinkUnavailable(f"{self._path} cannot be opened ({error.strerror}): repair the disk") from error
        return self._file


def open_whole(path: Path) -> FileIO:
    """Lock `path` and open it for appending after its last whole line. Raises OSError, and SinkRefused if locked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = FileIO(path, "a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        size = os.fstat(file.fileno()).st_size
        whole = _whole_bytes(file, size)
        if whole < size:
            log.warning("cut %d bytes of a torn line off %s", size - whole, path)
            file.truncate(whole)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # a new file's name must survive a power cut as well
        finally:
            os.close(folder)
    except BlockingIOError as error:
        file.close()
        raise SinkRefused(f"{path} is being written by another process: stop it, or choose another path") from error
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

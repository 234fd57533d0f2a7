"""A file of line protocol as a sink."""

import os
from io import FileIO
from pathlib import Path

from schemas.errors import SinkRefused, SinkUnavailable
from streaming.disk.append import open_whole
from streaming.sinks.contract import WriteReport, count_lines

_NO_USE_TO_RETRY = (PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError)


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

"""A file of line protocol as a sink."""

import os
from io import FileIO
from pathlib import Path

from schemas.errors import SettingsError, SinkRefused, SinkUnavailable
from schemas.files import open_for_append
from streaming.settings import Settings
from streaming.sinks.contract import WriteReport, count_lines

_FINAL = (PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError)  # a repetition cannot help


class FileSink:
    """Appends to one file; the lines are on disk before `write` returns.

    A crash can leave an incomplete line at the end. It is cut off when the file is opened again, and Spark repeats its
    batch. A lock keeps other jobs from writing to the file.
    """

    trouble = ""  # a write to a file is not repeated

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: FileIO | None = None

    @classmethod
    def of(cls, settings: Settings, place: str) -> "FileSink":
        """RISK_SINK=file:PATH."""
        if not place:
            raise SettingsError("sink file has no path", remedy="use file:PATH")
        return cls(Path(place).expanduser())

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
            self.close()  # the next write opens the file again, which cuts off an incomplete line
            raise SinkUnavailable(f"{self._path} cannot be written ({error.strerror})", remedy="make room") from error
        return WriteReport(lines=count, bytes=len(lines), requests=1)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _opened(self) -> FileIO:
        if self._file is None:
            try:
                self._file = open_for_append(self._path)
            except OSError as error:
                what = f"{self._path} cannot be opened for writing ({error.strerror})"
                if isinstance(error, _FINAL):
                    raise SinkRefused(what, remedy="choose another path") from error
                raise SinkUnavailable(what, remedy="check the disk") from error
        return self._file

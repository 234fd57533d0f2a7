"""A file of line protocol as a sink."""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from schemas.errors import SettingsError, SinkRefused, SinkUnavailable
from schemas.files import open_for_append
from schemas.spec import DAY_S, Spec
from streaming.settings import Settings
from streaming.sinks.sink import MakeLines, Sink, WriteReport, count_lines

log = logging.getLogger(__name__)
_BYTES_A_POINT = 176  # measured with the bundled Chicago, all measurements over the points of `risk`
_MUCH_BYTES = 1e9  # a day
_FINAL = (PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError)  # a repetition cannot help


def warn_of_growth(sink: str, specs: Iterable[Spec]) -> None:
    """Log by how much a file grows in a day with these regions, where it is much."""
    points = sum(
        spec.grid.cells * (len(spec.categories) + 1) * len(spec.horizons_s) * DAY_S / spec.tick_s for spec in specs
    )
    if sink.startswith("file:") and points * _BYTES_A_POINT >= _MUCH_BYTES:
        said = "%s grows without limit, with these regions by at least about %.0f GB a day: set RISK_SINK=influxdb"
        log.warning(said, sink, points * _BYTES_A_POINT / 1e9)


class FileSink(Sink):
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

    def check(self) -> None:
        self._opened()

    def write(self, lines: bytes) -> WriteReport:
        return self.write_all({"": lambda: lines})

    def write_all(self, parts: Mapping[str, MakeLines]) -> WriteReport:
        """It writes one part after the other, and waits for the disk once."""
        report = WriteReport(lines=0, requests=1)
        for make in parts.values():
            lines = make()
            report += WriteReport(lines=count_lines(lines))
            with self._opened_again_after_an_error() as file:
                rest = memoryview(lines)
                while rest:
                    rest = rest[file.write(rest) :]
        with self._opened_again_after_an_error() as file:
            os.fsync(file.fileno())
        return report

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    @contextmanager
    def _opened_again_after_an_error(self) -> Iterator[FileIO]:
        """The file; what cannot be written closes it, since opening it again cuts off an incomplete line."""
        file = self._opened()
        try:
            yield file
        except OSError as error:
            self.close()
            raise SinkUnavailable(f"{self._path} cannot be written ({error.strerror})", remedy="make room") from error

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

"""The contract of a sink: what a write promises, and what it raises; the choice of one by RISK_SINK; the plainest one.

To add a sink: one file in this folder, and one entry of SINKS.
"""

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from pkgutil import resolve_name
from typing import Protocol

import numpy as np

from schemas.errors import PipelineError, SettingsError, SinkRefused, SinkUnavailable
from schemas.files import open_for_append
from schemas.spec import DAY_S, Spec
from streaming.settings import Settings

_NEWLINE = 10
log = logging.getLogger(__name__)
MakeLines = Callable[[], bytes]
_BYTES_A_POINT = 176  # measured with the bundled Chicago, all measurements over the points of `risk`
_MUCH_BYTES = 1e9  # a day
_FINAL = (PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError)  # a repetition cannot help
# Name -> "module:callable". RISK_SINK is NAME or NAME:PLACE; the callable gets (settings, PLACE) and gives the sink.
# The module is imported when its sink is opened: a file needs no client of InfluxDB.
SINKS = {
    "influxdb": "streaming.sinks.influx:InfluxSink",
    "file": "streaming.sinks.sink:FileSink.of",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteReport:
    """The result of a write. The store refused `dropped` points for good; all others are durable.

    >>> WriteReport(lines=2, requests=1).dropped
    0
    """

    lines: int
    requests: int = 0  # that were acknowledged
    retries: int = 0
    dropped: int = 0

    def __add__(self, other: "WriteReport") -> "WriteReport":
        return WriteReport(
            lines=self.lines + other.lines,
            requests=self.requests + other.requests,
            retries=self.retries + other.retries,
            dropped=self.dropped + other.dropped,
        )


NOTHING = WriteReport(lines=0)


class Sink(Protocol):
    """Stores line protocol. One thread uses a sink; points are idempotent, so a failed write may be repeated."""

    @property
    def trouble(self) -> str:
        """Why a write has been repeated for some seconds: the store's answer, or that there is none. Else empty."""

    def check(self) -> None:
        """Check that the target exists and may be written. Raises SinkRefused or SinkUnavailable with the remedy."""

    def write(self, lines: bytes) -> WriteReport:
        """Store `lines`, each ended by a newline; return when they are durable. Without lines, do what `check` does.

        Raises SinkRefused when a repetition cannot help, SinkUnavailable when the tries are used up, PipelineError
        when the last line has no end.
        """

    def write_all(self, parts: Mapping[str, MakeLines]) -> WriteReport:
        """Store what the parts, each with its name, make; return when all of it is durable. Without lines, nothing is.

        Each part is called once, perhaps in a thread beside others, and they are stored in any order. Raises what
        `write` or a part raises, of the first that failed, when nothing of the write is under way any more; some of the
        parts may be stored then. A sink may do better than this one, which needs memory for all lines at once.
        """
        lines = b"".join(make() for make in parts.values())
        return self.write(lines) if lines else NOTHING

    def close(self) -> None:
        """Release what is open. It may be called several times."""


def count_lines(lines: bytes) -> int:
    r"""Lines in `lines`. Raises PipelineError when the last one has no end: the next write would continue it.

    >>> count_lines(b"a x=1 1\na x=2 2\n")
    2
    """
    if lines and not lines.endswith(b"\n"):
        raise PipelineError(f"the last line has no newline ({lines[-60:]!r})", remedy="write whole lines")
    return int(np.count_nonzero(np.frombuffer(lines, np.uint8) == _NEWLINE))  # faster than `count`


def open_sink(settings: Settings) -> Sink:
    """The sink that `settings.sink` names. Raises SettingsError when there is no such sink.

    >>> open_sink(Settings.from_environment({"RISK_SINK": "file:/tmp/scores.lp"})).close()
    """
    name, _, place = settings.sink.partition(":")
    if name not in SINKS:
        remedy = f"use one of: {', '.join(SINKS)}; a file is file:PATH"
        raise SettingsError(f"sink {settings.sink!r} is not known", remedy)
    sink: Sink = resolve_name(SINKS[name])(settings, place)
    return sink


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


def warn_of_growth(sink: str, specs: Iterable[Spec]) -> None:
    """Log by how much a file grows in a day with these regions, where it is much."""
    points = sum(
        spec.grid.cells * (len(spec.categories) + 1) * len(spec.horizons_s) * DAY_S / spec.tick_s for spec in specs
    )
    if sink.startswith("file:") and points * _BYTES_A_POINT >= _MUCH_BYTES:
        warning = "%s grows without limit, with these regions by at least about %.0f GB a day: set RISK_SINK=influxdb"
        log.warning(warning, sink, points * _BYTES_A_POINT / 1e9)

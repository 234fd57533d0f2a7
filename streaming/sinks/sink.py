"""The contract of a sink: what a write promises, and what it raises; and the choice of one by RISK_SINK.

To add a sink: one file in this folder, and one entry of SINKS.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Protocol

import numpy as np

from schemas.errors import PipelineError, SettingsError
from streaming.settings import Settings

MakeLines = Callable[[], bytes]
_NEWLINE = 10
# Name -> "module:callable". RISK_SINK is NAME or NAME:PLACE; the callable gets (settings, PLACE) and gives the sink.
# The module is imported when its sink is opened: a file needs no client of InfluxDB.
SINKS = {
    "influxdb": "streaming.sinks.influx:InfluxSink",
    "file": "streaming.sinks.file:FileSink.of",
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
    return int(np.count_nonzero(np.frombuffer(lines, np.uint8) == _NEWLINE))


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

"""The contract of a sink: what a write promises, and what it raises."""

from dataclasses import dataclass
from typing import Protocol

from schemas.errors import PipelineError


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


def count_lines(lines: bytes) -> int:
    """Lines in `lines`. Raises PipelineError when the last one has no end: a store would glue the next to it."""
    if lines and not lines.endswith(b"\n"):
        raise PipelineError(f"the last line has no newline ({lines[-60:]!r}): hand over whole lines")
    return lines.count(b"\n")

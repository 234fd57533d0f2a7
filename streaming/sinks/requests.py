"""Lines cut into the requests that a store takes."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from streaming.sinks.contract import count_lines

LINES_PER_REQUEST = 10_000  # 1.9 MB; both local stores are faster with it than with 5,000
_NEWLINE = 10


@dataclass(frozen=True, slots=True)
class Request:
    """Some whole lines of a write, or of a part of it that has a name. first: the number of the first one, from 1."""

    lines: bytes
    count: int = 1
    part: str = ""
    first: int = 1


def requests_of(part: str, lines: bytes) -> Iterator[Request]:
    """LINES_PER_REQUEST lines each, fewer in the last; nothing when there are no lines.

    Raises PipelineError when the last line has no end.
    """
    total = count_lines(lines)
    ends = np.flatnonzero(np.frombuffer(lines, np.uint8) == _NEWLINE) + 1
    start = 0
    for first in range(1, total + 1, LINES_PER_REQUEST):
        count = min(LINES_PER_REQUEST, total + 1 - first)
        end = int(ends[first + count - 2])
        yield Request(lines[start:end], count, part, first)
        start = end

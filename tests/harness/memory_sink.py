"""A sink in memory, for tests: it keeps every write, in order."""

from streaming.sinks.sink import Sink, WriteReport, count_lines


class MemorySink(Sink):
    trouble = ""

    def __init__(self, *_: object) -> None:  # needs nothing of what `open_sink` gives
        self.writes: list[bytes] = []

    def check(self) -> None:
        """Memory can always be written."""

    def write(self, lines: bytes) -> WriteReport:
        count = count_lines(lines)
        self.writes.append(lines)
        return WriteReport(lines=count, requests=1)

    def close(self) -> None:
        """Nothing to release."""

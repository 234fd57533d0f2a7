"""A store in memory."""

from streaming.sinks.contract import WriteReport, count_lines


class ListSink:
    """Keeps everything in memory, in order."""

    trouble = ""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    def check(self) -> None:
        """A list can always be written."""

    def write(self, lines: bytes) -> WriteReport:
        count = count_lines(lines)
        self.writes.append(lines)
        return WriteReport(lines=count, bytes=len(lines), requests=1)

    def close(self) -> None:
        """Nothing to release."""

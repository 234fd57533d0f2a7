"""A sink in memory, for tests: it keeps every write, in order."""

from streaming.settings import Settings
from streaming.sinks.contract import WriteReport, count_lines


class MemorySink:
    trouble = ""

    def __init__(self) -> None:
        self.writes: list[bytes] = []

    @classmethod
    def of(cls, settings: Settings, place: str) -> "MemorySink":
        return cls()

    def check(self) -> None:
        """Memory can always be written."""

    def write(self, lines: bytes) -> WriteReport:
        count = count_lines(lines)
        self.writes.append(lines)
        return WriteReport(lines=count, bytes=len(lines), requests=1)

    def close(self) -> None:
        """Nothing to release."""

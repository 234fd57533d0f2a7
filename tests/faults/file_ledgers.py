"""The `pipeline` points of a file sink, each as it was written."""

from tests.faults.outcomes import written_in
from tests.harness.points import points_in


class FileLedgers:
    """Reads what has come since the last time; `taken` is what RecordingStore calls `ledgers`.

    written: as `written_in` gives it, of each write in order.
    """

    def __init__(self, path):
        self.path, self.taken, self.written, self._read = path, [], [], 0

    def consumed(self):
        """Messages that the file knows of."""
        self._take()
        last = {key: float(fields["consumed"]) for key, _, fields in self.taken}
        return int(sum(last.values()))

    def _take(self):
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read += len(whole)
        self.written += written_in(whole.decode())
        self.taken += [point for point in points_in(whole.decode()) if point[0].startswith("pipeline,")]

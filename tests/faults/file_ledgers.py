"""The `pipeline` points of a file sink, each as it was written."""

from tests.faults.outcomes import written_in
from tests.harness.recording_store import FIELD


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
        for line in whole.decode().splitlines():
            if line.startswith("pipeline,"):
                key, rest = line.split(" ", 1)
                fields, time_s = rest.rsplit(" ", 1)
                self.taken.append((key, int(time_s), dict(FIELD.findall(fields))))

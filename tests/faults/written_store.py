"""A store that also remembers what was overwritten, where outcomes are recounted from it."""

from tests.faults.outcomes import written_in
from tests.harness.recording_store import RecordingStore


class WrittenStore(RecordingStore):
    """written: as `written_in` gives it, of each write in order."""

    def __init__(self):
        super().__init__()
        self.written = []

    def take(self, body):
        super().take(body)
        self.written += written_in(body.decode())

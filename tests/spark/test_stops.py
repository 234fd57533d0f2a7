"""A stop waits for the running batch, and what becomes of it decides how the job has ended."""

import threading

import pytest

from schemas.errors import SinkRefused
from tests.harness.memory_sink import MemorySink


class WaitingSink(MemorySink):
    """Takes everything until it is told to refuse; then a write waits for the word before it does."""

    def __init__(self):
        super().__init__()
        self.refuses, self.asked, self.word = threading.Event(), threading.Event(), threading.Event()

    def write(self, lines):
        if lines and self.refuses.is_set():
            self.asked.set()
            assert self.word.wait(60)
            raise SinkRefused("answered 401: the token is not known")
        return super().write(lines)


def test_a_batch_that_fails_while_the_job_stops_is_the_end_of_the_job(random_job, world):
    _, batches = world
    job = random_job("refused", sink=WaitingSink())
    job.send(batches[0])
    job.start()
    job.wait_until(lambda: job.consumed() == job.sent)
    stored = len(job.sink.writes)
    job.sink.refuses.set()
    job.send(batches[1])
    assert job.sink.asked.wait(60)
    threading.Timer(0.5, job.sink.word.set).start()  # while `stop` waits
    with pytest.raises(SinkRefused, match="401"):
        job.stop()
    assert len(job.sink.writes) == stored

"""Repeated batches, restarts and killed workers change nothing in the store."""

import os
import time
from contextlib import suppress
from dataclasses import dataclass, field

import psutil
import pytest

from schemas.errors import SinkUnavailable, SparkFailed
from streaming.disk.checkpoint import last_begun, last_commit
from streaming.flow import intake as decode
from tests.harness.memory_sink import MemorySink
from tests.harness.points import of_the_events, stored_points

DAEMON = "streaming.flow.worker_daemon"


class FaultySink(MemorySink):
    """Stores the nth write that has content, says that it has not, and takes all others."""

    def __init__(self, *fails):
        super().__init__()
        self.fails = set(fails)
        self.seen = 0

    def write(self, lines):
        report = super().write(lines)
        self.seen += bool(lines)
        if lines and self.seen in self.fails:
            raise SinkUnavailable("no acknowledgement came: look at the store")
        return report


def test_batches_that_are_repeated_and_restarts_change_nothing_in_the_store(random_job, world, undisturbed):
    _, batches = world
    job = random_job("disturbed", sink=FaultySink(2, 5, 6))  # the repeated fifth fails once more
    for batch in batches:
        job.send(batch)
    with job.running():
        job.wait_until(lambda: job.consumed() > job.sent // 2)
    with job.running():
        job.wait_until(lambda: job.consumed() == job.sent)

    assert job.sink.seen > sum(map(bool, undisturbed.sink.writes))
    assert_the_same_is_stored(job, undisturbed)


def assert_the_same_is_stored(job, undisturbed):
    """But for the name of the artifact."""
    disturbed, expected = (of_the_events(stored_points(each.sink.writes), "model") for each in (job, undisturbed))
    assert disturbed == expected
    assert job.letters.kept == undisturbed.letters.kept


def spark_workers():
    """Python workers of the running session: what its daemons forked."""
    workers = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if DAEMON in process.cmdline() and DAEMON in process.parent().cmdline():
                workers.append(process)
    return workers


@dataclass
class Killer:
    """Kills all Python workers while a task waits for one of them, `kills` times.

    They are stopped first, so that the next task that is given to one cannot end before the kill.
    """

    tracker: object
    kills: int
    aimed_at: set = field(default_factory=set)
    _stopped: list = field(default_factory=list)
    _stuck: tuple = (None, 0.0)  # stage, since when

    def look(self):
        stages, (stage, since) = self.tracker.getActiveStageIds(), self._stuck
        if len(self.hit()) == self.kills or self.aimed_at & set(stages):  # a task has only so many tries
            return
        if not self._stopped:
            self._stopped = spark_workers()
            for worker in self._stopped:
                worker.suspend()
        if stage not in stages:
            self._stuck = (stages[0] if stages else None, time.monotonic())
        elif time.monotonic() - since > 1:
            for worker in spark_workers():  # one that was forked meanwhile may have the task
                worker.kill()
            self.aimed_at.add(stage)
            self._stopped, self._stuck = [], (None, 0.0)

    def hit(self):
        """Stages in which a task failed."""
        return [stage for stage in self.aimed_at if self.tracker.getStageInfo(stage).numFailedTasks]


@pytest.mark.fault("F05")
def test_killed_python_workers_cost_a_retry_and_nothing_else(random_job, world, undisturbed, session):
    _, batches = world
    job = random_job("killed")
    killer = Killer(session.sparkContext.statusTracker(), kills=3)
    for batch in batches:
        job.send(batch)

    def done():
        killer.look()
        return job.consumed() == job.sent

    with job.running():
        job.wait_until(done)
    assert len(killer.hit()) == 3
    assert_the_same_is_stored(job, undisturbed)


def dying(tries, from_now_on):
    """A decoder that ends its worker as the kernel's out-of-memory killer does, and adds a line to the file `tries`.

    As long as there is no file `from_now_on`, it decodes.
    """
    sound = decode.decode_messages

    def die(*messages, **more):  # within another function: it travels to the workers by value
        if not os.path.exists(from_now_on):
            return sound(*messages, **more)
        with open(tries, "a", encoding="utf-8") as file:
            file.write("once more\n")
        os._exit(137)

    return die


@pytest.mark.fault("F05")
def test_a_python_worker_that_dies_at_every_try_ends_the_job_and_nothing_is_committed(
    random_job, world, undisturbed, monkeypatch, tmp_path
):
    first, second, *_ = world[1]
    job = random_job("out_of_memory")
    checkpoint, tries, from_now_on = job.settings.checkpoint, tmp_path / "tries.txt", tmp_path / "from_now_on"
    with monkeypatch.context() as patched:
        patched.setattr(decode, "decode_messages", dying(str(tries), str(from_now_on)))
        job.start()
        job.take_in(first)
        stored, letters = stored_points(job.sink.writes), dict(job.letters.kept)
        from_now_on.touch()
        job.send(second)
        error = job.wait_for_end()
    assert type(error) is SparkFailed
    assert error.exit_code == 7
    assert "a Python worker of Spark ended at every try" in str(error)
    assert len(tries.read_text(encoding="utf-8").splitlines()) == 4
    assert last_commit(checkpoint)[0] == last_begun(checkpoint) - 1
    assert stored_points(job.sink.writes) == stored
    assert job.letters.kept == letters

    with job.running():
        job.wait_until(lambda: job.consumed() == job.sent)
    assert_the_same_is_stored(job, undisturbed.after_two)

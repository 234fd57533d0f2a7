"""The query is started again within the job: what the one before left of an unfinished batch is removed first."""

from contextlib import nullcontext
from threading import Event
from types import SimpleNamespace

import pytest

from schemas.errors import CheckpointError
from streaming.disk.guard import CheckpointGuard, verify_checkpoint
from streaming.job.job import Job, Outside
from streaming.job.query_starts import ClockSetBack, RestartPauses
from streaming.topics.admin import Topic
from tests.harness.checkpoint import commit
from tests.harness.memory_sink import MemorySink


@pytest.fixture
def run(settings):
    """run(first): runs a job without Kafka and Spark; `first` happens in its first query, before the clock is set back.

    Gives, by query, the names of the state files that it began with.
    """
    state = settings.checkpoint / "spark" / "state" / "0" / "0"
    found = []

    def verify(stop):
        topic = Topic(id="1", first_offsets={}, end_offsets={})
        verify_checkpoint(settings.checkpoint, CheckpointGuard.of(settings, "1"), topic, audit=settings.audit)
        return True

    def start(session, publish):
        found.append(sorted(path.name for path in state.glob("*")))

    def go(first):
        def supervise(query, stop):
            if len(found) == 1:
                state.mkdir(parents=True)
                first()
                raise ClockSetBack("the clock of this machine was set back by 3600 s")
            return True

        outside = Outside(
            spark=nullcontext,
            read=None,
            topic=SimpleNamespace(watched=nullcontext, verify=verify),
            dead_letters=None,
            sink=MemorySink(),
        )
        job = Job(
            checkpoint=settings.checkpoint,
            spark_state="",
            outside=outside,
            dataflow=SimpleNamespace(start=start),
            publisher=SimpleNamespace(end_minute=lambda: None),
            supervisor=SimpleNamespace(roster=SimpleNamespace(look=lambda now_s: None), supervise=supervise),
            watchdog=SimpleNamespace(watching=nullcontext),
            pauses=RestartPauses(1.0),
        )
        assert job.run(Event())
        return found

    return go


def begin(settings, number, *, is_committed):
    """A batch with its offsets and its state, and its commit or not."""
    commit(settings.checkpoint, number, {}, is_done=is_committed)
    (settings.checkpoint / "spark" / "state" / "0" / "0" / f"{number + 1}.changelog").write_bytes(b"")


def test_after_a_set_back_clock_the_state_of_the_batch_that_was_cut_off_is_removed(settings, run):
    def first():
        begin(settings, 0, is_committed=True)
        begin(settings, 1, is_committed=False)

    assert run(first) == [[], ["1.changelog"]]


def test_after_a_set_back_clock_no_state_is_removed_for_want_of_a_commit(settings, run):
    def first():
        begin(settings, 0, is_committed=False)
        begin(settings, 1, is_committed=False)

    with pytest.raises(CheckpointError, match="the commit of batch 0 is missing"):
        run(first)
    assert len(list((settings.checkpoint / "spark" / "state" / "0" / "0").iterdir())) == 2

"""The query is started again within the job: what the one before left of an unfinished batch is removed first."""

from threading import Event

import pytest

from schemas.errors import CheckpointError
from streaming.disk.checkpoint import CheckpointGuard, verify_checkpoint
from streaming.job.query_starts import ClockSetBack
from streaming.topics.kafka import Topic
from tests.harness.checkpoint import commit
from tests.unit.job.test_store_away import job_of


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

        assert job_of(settings.checkpoint, supervise, verify=verify, start=start, longest_s=1.0).run(Event())
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

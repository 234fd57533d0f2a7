"""The query is started again within the job: what the one before left of an unfinished batch is removed first."""

from threading import Event
from types import SimpleNamespace

import pytest

import streaming.job.job
from schemas.errors import CheckpointError
from streaming.job.job import run
from streaming.job.query_starts import ClockSetBack
from streaming.settings import Settings
from streaming.topics.admin import Topic
from tests.harness.spark_offsets import spark_files

NOW_S = 1_767_225_600


@pytest.fixture
def settings(tmp_path):
    return Settings(
        kafka_bootstrap="127.0.0.1:1",
        checkpoint=tmp_path / "checkpoint",
        audit=tmp_path / "audit.jsonl",
        sink=f"file:{tmp_path / 'scores.lp'}",
    )


@pytest.fixture
def attended(settings, monkeypatch):
    """attended(first): runs the job on stubs; `first` is done in the first query's time, before the clock is set back.

    Gives, by query, the numbers of the state files that it began with.
    """
    state = settings.checkpoint / "spark" / "state" / "0" / "0"
    found = []

    def start(*_):
        found.append(sorted(path.name for path in state.glob("*")))

    stubs = {
        "RosterWatch": SimpleNamespace(of=lambda settings: SimpleNamespace(look=lambda now_s: None)),
        "_usable_topic": lambda settings: Topic(id="1", first_offsets={}, end_offsets={}),
        "start_session": lambda *_: SimpleNamespace(stop=lambda: None),
    }
    for name, stub in stubs.items():
        monkeypatch.setattr(streaming.job.job, name, stub)
    monkeypatch.setattr(streaming.job.job.Dataflow, "start", start)
    monkeypatch.setattr("streaming.topics.watch.refuse_unreachable", lambda bootstrap: None)

    def go(first):
        def attend(*_):
            if len(found) == 1:
                state.mkdir(parents=True)
                first()
                raise ClockSetBack("the clock of this machine was set back by 3600 s")
            return True

        monkeypatch.setattr(streaming.job.job, "attend", attend)
        assert run(settings, stop=Event(), watchers=[])
        return found

    return go


def begin(settings, number, *, is_committed):
    """A batch with its offsets and its state, and its commit or not."""
    spark = settings.checkpoint / "spark"
    spark_files(settings.checkpoint, number, read={}, at_s=NOW_S)
    (spark / "state" / "0" / "0" / f"{number + 1}.changelog").write_bytes(b"")
    (spark / "commits").mkdir(exist_ok=True)
    if is_committed:
        (spark / "commits" / str(number)).write_text("v1\n{}\n", encoding="utf-8")


def test_after_a_set_back_clock_the_state_of_the_batch_that_was_cut_off_is_removed(settings, attended):
    def first():
        begin(settings, 0, is_committed=True)
        begin(settings, 1, is_committed=False)

    assert attended(first) == [[], ["1.changelog"]]


def test_after_a_set_back_clock_no_state_is_removed_for_want_of_a_commit(settings, attended):
    def first():
        begin(settings, 0, is_committed=False)
        begin(settings, 1, is_committed=False)

    with pytest.raises(CheckpointError, match="the commit of batch 0 is missing"):
        attended(first)
    assert len(list((settings.checkpoint / "spark" / "state" / "0" / "0").iterdir())) == 2

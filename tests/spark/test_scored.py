"""Random streams through real Spark against a recount of the JSON bytes in plain Python.

The log of batches gives the stored scores again; repeats, restarts and killed workers change nothing in the store.
"""

import os
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

import numpy as np
import psutil
import pytest

from models import scoring
from models.dispersion import at_least_one
from schemas.errors import SinkRefused, SinkUnavailable, SparkFailed
from streaming.artifacts_in_force import load_artifact
from streaming.checkpoint import last_begun, last_commit
from streaming.flow import intake as decode
from streaming.flow.rows import FIELDS
from tests.harness.batch import MemorySink
from tests.harness.points import of_the_events, stored_points
from tests.harness.random_world import OUTCOMES, RecountedWorld, known_bad, offline
from tests.harness.recount import Recount, RecountError, planned
from tests.harness.toy import toy_messages
from tests.spark.conftest import MORE_BATCHES


def artifacts_of(job):
    folders = {region.name: next(region.iterdir()) for region in job.artifacts.iterdir()}
    return {region: load_artifact(str(folder)) for region, folder in folders.items()}


@pytest.mark.fault("F14", "F16")
def test_counts_ledger_and_dead_letters_equal_a_recount_and_scores_the_offline_path(undisturbed, world):
    job, (specs, batches) = undisturbed, world
    recount = RecountedWorld(job.artifacts, known_bad(specs["riverton"]))
    clock_s, totals = recount.expected.clock_s, recount.expected.ledger
    unspark = offline(batches, artifacts_of(job))
    published = job.with_messages()
    assert len(published) == len(batches)
    for batch, seen, expected in zip(batches, published, unspark, strict=True):
        ledgers = recount.batch(batch)
        with_messages = {region: summary for region, summary in seen.summaries.items() if summary.ledger["consumed"]}
        assert with_messages.keys() == ledgers.keys()
        for region, summary in with_messages.items():
            assert Counter({k: v for k, v in summary.ledger.items() if v}) == ledgers[region]
            assert Counter({k: v for k, v in summary.totals.items() if v}) == totals[region]
            assert summary.ledger["consumed"] == sum(summary.ledger[name] for name in OUTCOMES[1:])
        for region, (features, scores) in expected.items():
            frame = seen.frames[region]
            assert frame.as_of_s == clock_s[region]
            np.testing.assert_array_equal(frame.observed_1h, recount.observed_1h(region))
            np.testing.assert_array_equal(frame.observed_1h, features.observed_1h)
            np.testing.assert_array_equal(frame.support, features.support)
            for name in FIELDS:
                np.testing.assert_array_equal(getattr(frame, name), getattr(scores, name), err_msg=name)
    assert job.letters.kept == recount.expected.refused

    every_outcome = sum(totals.values(), Counter())
    assert all(every_outcome[name] > 10 for name in OUTCOMES)
    assert {"future", "late", "unknown_region", "unknown_category", "outside_grid", "not_json", "person_field"} <= {
        reason for _, reason in recount.expected.refused.values()
    }


def test_a_batch_leaves_no_connection_open(undisturbed):
    """A job runs for months. Spark 4.2.0 did not close the one between state and Python worker (SPARK-58932)."""
    assert undisturbed.opened < MORE_BATCHES / 2


@pytest.mark.fault("F41")
def test_a_recount_of_the_log_gives_the_points_that_were_stored_over_a_swap_and_a_restart(
    random_job, world, publish, monkeypatch
):
    specs, batches = world
    job = random_job("logged")
    job.run_through(batches[:4])
    spec = specs["lakeside"]
    history = load_artifact(str(next((job.artifacts / "lakeside").iterdir()))).history()
    publish(job.artifacts, spec, created="20260202T000000Z", seed=8, history=history)
    job.run_through(batches[4:])

    checkpoint = job.settings.checkpoint
    sent = dict(zip((published.batch_id for published in job.with_messages()), batches, strict=True))
    logged, frames = planned(checkpoint, specs)
    recount = Recount(frames, checkpoint, job.artifacts, specs)
    lines = [recount.points(batch, slices(sent.get(batch.number, []))) for batch in logged]
    stored = scores_in(job.sink.writes)
    assert scores_in(lines) == stored
    assert len(b"".join(lines).splitlines()) == len(stored)
    assert recount.differing == 0
    of_lakeside = {key: fields for key, fields in stored.items() if "region=lakeside" in key[0]}
    assert len({fields["model"] for fields in of_lakeside.values() if "model" in fields}) == 2

    of_another_torch = Recount(frames, checkpoint, job.artifacts, specs)
    with monkeypatch.context() as patch:
        patch.setattr(scoring, "at_least_one", lambda *given: np.nextafter(at_least_one(*given), np.float32(2)))
        for batch in logged:
            of_another_torch.points(batch, slices(sent.get(batch.number, [])))
    assert of_another_torch.differing == len(frames)

    messages = next(iter(sent.values()))
    again = Recount(frames, checkpoint, job.artifacts, specs)
    with pytest.raises(RecountError, match="gives other counts than the job stored"):
        [again.points(batch, slices(messages)) for batch in logged]  # the same ones for every batch


def scores_in(writes):
    """The stored points of scores: no others are counted again."""
    of_scores = ("risk", "top", "unusual")
    return {key: fields for key, fields in stored_points(writes).items() if key[0].startswith(of_scores)}


def slices(messages):
    """The messages in the order of the topic, seven at a time."""
    messages = sorted(messages, key=lambda message: message[1:3])
    for first in range(0, len(messages), 7):
        value, partition, offset, time_ms = zip(*messages[first : first + 7], strict=True)
        yield toy_messages(value, time_ms, partition=partition, offset=offset)


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

    All are stopped at each look, those forked since as well, so that no task given to one can end before the kill.
    """

    tracker: object
    kills: int
    aimed_at: set = field(default_factory=set)
    _stuck: tuple = (None, 0.0)  # stage, since when

    def look(self):
        stages, (stage, since) = self.tracker.getActiveStageIds(), self._stuck
        if len(self.hit()) == self.kills or self.aimed_at & set(stages):  # a task has only so many tries
            return
        workers = spark_workers()
        for worker in workers:
            with suppress(psutil.NoSuchProcess):
                worker.suspend()
        if stage not in stages:
            self._stuck = (stages[0] if stages else None, time.monotonic())
        elif time.monotonic() - since > 1:
            for worker in workers:
                with suppress(psutil.NoSuchProcess):
                    worker.kill()
            self.aimed_at.add(stage)
            self._stuck = (None, 0.0)

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
        return job.consumed() == job.sent and len(killer.hit()) == killer.kills

    with job.running():
        job.wait_until(done)
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

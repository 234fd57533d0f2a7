"""Faults of the process, its executors, its disk and its dead-letter topic: the real job, and the recount."""

import os
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from kafka import KafkaAdminClient

from streaming.topics.kafka import KafkaConnection, ensure_topics
from tests.faults.offsets import committed
from tests.faults.sent import START, events
from tests.harness.processes import run

FAILING_JOB = str(Path(__file__).with_name("failing_job.py"))


def start_and_take_in(scorer, region, sent):
    scorer.start()
    sent.send(events(region, range(30)))
    sent.wait()


def end_and_check(scorer, sent):
    assert scorer.end(signal.SIGTERM) == 0
    sent.check()


@pytest.mark.fault("F03")
@pytest.mark.nightly
def test_a_job_that_is_frozen_for_a_minute_catches_up(job, record_property):
    scorer, region, sent = job()
    start_and_take_in(scorer, region, sent)
    os.killpg(scorer.process.pid, signal.SIGSTOP)
    sent.send(events(region, range(30, 60)))
    time.sleep(60)
    os.killpg(scorer.process.pid, signal.SIGCONT)
    sent.recovers(time.monotonic(), record_property)
    end_and_check(scorer, sent)


@pytest.mark.fault("F04")
@pytest.mark.nightly
def test_a_killed_executor_is_replaced(job, record_property):
    scorer, region, sent = job(RISK_MASTER="local-cluster[2,1,1024]")
    start_and_take_in(scorer, region, sent)
    before = executors(scorer)
    assert len(before) == 2
    before[0].kill()
    began = time.monotonic()
    sent.send(events(region, range(30, 60)))
    sent.recovers(began, record_property)
    scorer.wait_until(lambda: len(set(executors(scorer)) - {before[0]}) == 2)
    sent.send(events(region, range(60, 90)))
    sent.wait()
    end_and_check(scorer, sent)


def executors(scorer):
    """Spark's executors, each a Java process."""
    found = []
    for child in psutil.Process(scorer.process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if child.name() == "java" and "CoarseGrainedExecutorBackend" in " ".join(child.cmdline()):
                found.append(child)
    return found


@pytest.mark.fault("F13")
@pytest.mark.nightly
def test_giant_messages_are_refused_and_their_neighbours_counted(job):
    scorer, region, sent = job()
    giants = [(n % 2, region.event(n, cell=0, at_s=START, type_code="x" * 900_000), START * 1000) for n in range(60)]
    mixed = [message for pair in zip(giants, events(region, range(60)), strict=True) for message in pair]
    sent.send(mixed)
    scorer.start()
    sent.wait()
    end_and_check(scorer, sent)
    letters = scorer.letters()
    assert [letter["reason"] for letter in letters] == ["too_large"] * 60
    assert not [letter for letter in letters if letter.get("payload_base64")]


@pytest.mark.fault("F34")
@pytest.mark.nightly
def test_a_full_checkpoint_disk_ends_the_job_and_loses_nothing(job, tmp_path, record_property):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = run("/usr/bin/mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", disk)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    scorer, region, sent = job(RISK_CHECKPOINT=str(disk / "checkpoint"))
    try:
        start_and_take_in(scorer, region, sent)
        filler = disk / "filler"
        fill_up(filler)
        sent.send(events(region, range(30, 60)))
        code = scorer.end()
        assert code in (7, 8), scorer.output
        assert [line for line in scorer.output.splitlines() if line.startswith("error:")]
        filler.unlink()
        scorer.start()
        sent.recovers(time.monotonic(), record_property)
        end_and_check(scorer, sent)
    finally:
        scorer.clean_up()
        sent.witness.stop()
        assert run("/usr/bin/umount", disk).returncode == 0


def fill_up(path):
    """Write until the file system is full."""
    with suppress(OSError), path.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    assert shutil.disk_usage(path).free < 4096


@pytest.mark.fault("F35")
def test_without_its_dead_letter_topic_the_job_stops_and_drops_nothing(job, record_property):
    scorer, region, sent = job(RISK_WRITE_TIMEOUT_S="5")
    start_and_take_in(scorer, region, sent)
    with KafkaAdminClient(bootstrap_servers=scorer.topic.bootstrap) as admin:
        admin.delete_topics([scorer.dead_letters.name])
    sent.send([(0, b"rubbish", START * 1000), *events(region, range(30, 40))])
    scorer.assert_ended(5)
    assert "dead letters" in scorer.output
    assert scorer.consumed() == committed(scorer.checkpoint / "spark", scorer.topic.name) == 30
    ensure_topics(KafkaConnection(scorer.topic.bootstrap), {scorer.dead_letters.name: 1})
    scorer.start()
    sent.recovers(time.monotonic(), record_property)
    end_and_check(scorer, sent)


@pytest.mark.fault("F38")
@pytest.mark.nightly
def test_a_batch_that_always_fails_is_named_and_not_skipped(job):
    scorer, region, sent = job()
    tries = scorer.folder / "tries.txt"
    scorer.environment["FAILING_JOB_TRIES"] = str(tries)
    scorer.start(FAILING_JOB)
    sent.send(events(region, range(10), partitions=1))
    sent.wait()
    sent.send([(0, region.event(11, cell=0, at_s=START, type_code="deadly"), START * 1000)])
    for start in (1, 2):
        assert scorer.end() == 7, scorer.output
        assert len(tries.read_text().splitlines()) == 4 * start
        error = [line for line in scorer.output.splitlines() if line.startswith("error:")][-1]
        assert "partition 0: offsets 10 to 10" in error
        assert scorer.consumed() == 10
        scorer.start(FAILING_JOB)
    assert scorer.end() == 7

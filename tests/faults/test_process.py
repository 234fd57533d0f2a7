"""Faults of the process, executors, clock, disk, checkpoint and dead-letter topic: the real job, and the recount.

A damaged checkpoint is refused with its remedy, or what was lost is made again: never counted wrong. A commit that is
lost, and an offset file that is cut, are met in every run: test_scenarios.py, test_pipeline.py.
"""

import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from kafka import KafkaAdminClient

from streaming.kafka import KafkaConnection, ensure_topics
from tests.faults.stores import START, events
from tests.faults.witness import committed, newest
from tests.harness.processes import run


@pytest.mark.fault("F03")
@pytest.mark.nightly
def test_a_job_that_is_frozen_for_a_minute_catches_up(job, record_property):
    scorer, region, sent = job()
    sent.start(events(region, range(30)))
    os.killpg(scorer.process.pid, signal.SIGSTOP)
    sent.send(events(region, range(30, 60)))
    time.sleep(60)
    os.killpg(scorer.process.pid, signal.SIGCONT)
    sent.recovers(time.monotonic(), record_property)
    sent.end_and_check()


@pytest.mark.fault("F04")
@pytest.mark.nightly
def test_a_killed_executor_is_replaced(job, record_property):
    scorer, region, sent = job(RISK_MASTER="local-cluster[2,1,1024]")
    sent.start(events(region, range(30)))
    before = executors(scorer)
    assert len(before) == 2
    before[0].kill()
    began = time.monotonic()
    sent.send(events(region, range(30, 60)))
    sent.recovers(began, record_property)
    scorer.wait_until(lambda: len(set(executors(scorer)) - {before[0]}) == 2)
    sent.send(events(region, range(60, 90)))
    sent.wait()
    sent.end_and_check()


def executors(scorer):
    """Spark's executors, each a Java process."""
    executors = []
    for child in psutil.Process(scorer.process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            if child.name() == "java" and "CoarseGrainedExecutorBackend" in " ".join(child.cmdline()):
                executors.append(child)
    return executors


@pytest.mark.fault("F13")
@pytest.mark.nightly
def test_giant_messages_are_refused_and_their_neighbours_counted(job):
    scorer, region, sent = job()
    giants = [(n % 2, region.event(n, cell=0, at_s=START, type_code="x" * 900_000), START * 1000) for n in range(60)]
    mixed = [message for pair in zip(giants, events(region, range(60)), strict=True) for message in pair]
    sent.send(mixed)
    scorer.start()
    sent.wait()
    sent.end_and_check()
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
        sent.start(events(region, range(30)))
        filler = disk / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        assert shutil.disk_usage(filler).free < 4096
        sent.send(events(region, range(30, 60)))
        code = scorer.end()
        assert code in (7, 8), scorer.output
        assert [line for line in scorer.output.splitlines() if line.startswith("error:")]
        filler.unlink()
        scorer.start()
        sent.recovers(time.monotonic(), record_property)
        sent.end_and_check()
    finally:
        scorer.clean_up()
        sent.witness.stop()
        assert run("/usr/bin/umount", "--lazy", disk).returncode == 0  # a worker of Spark may still end


@pytest.mark.fault("F35")
def test_without_its_dead_letter_topic_the_job_stops_and_drops_nothing(job, record_property):
    scorer, region, sent = job(RISK_WRITE_TIMEOUT_S="2")
    sent.start(events(region, range(30)))
    with KafkaAdminClient(bootstrap_servers=scorer.topic.bootstrap) as admin:
        admin.delete_topics([scorer.dead_letters.name])
    sent.send([(0, b"rubbish", START * 1000), *events(region, range(30, 40))])
    scorer.assert_ended(5)
    assert "dead letters" in scorer.output
    assert scorer.consumed() == committed(scorer.checkpoint / "spark", scorer.topic.name) == 30
    ensure_topics(KafkaConnection(scorer.topic.bootstrap), {scorer.dead_letters.name: 1})
    scorer.start()
    sent.recovers(time.monotonic(), record_property)
    sent.end_and_check()


# `risk run` with a decoder that raises for some messages, as a fault of ours would. It travels to the Python workers by
# value, and each time adds a line to a file.
FAILING_JOB = """
import os, sys
from pathlib import Path
from incident_risk import main
from streaming.flow import intake

tries = os.environ["FAILING_JOB_TRIES"]

def failing(messages, *rest, **more):
    from schemas.decode import decode_messages
    if b"deadly" in messages.data:
        with Path(tries).open("a") as file:
            file.write("once more\\n")
        raise RuntimeError("a fault that escaped every test")
    return decode_messages(messages, *rest, **more)

intake.decode_messages = failing
sys.argv = ["risk", "run"]
main()
"""


@pytest.mark.fault("F38")
@pytest.mark.nightly
def test_a_batch_that_always_fails_is_named_and_not_skipped(job):
    scorer, region, sent = job()
    tries = scorer.folder / "tries.txt"
    scorer.environment["FAILING_JOB_TRIES"] = str(tries)
    sent.start(events(region, range(10), partitions=1), "-c", FAILING_JOB)
    sent.send([(0, region.event(11, cell=0, at_s=START, type_code="deadly"), START * 1000)])
    for start in (1, 2):
        assert scorer.end() == 7, scorer.output
        assert len(tries.read_text().splitlines()) == 4 * start
        error = [line for line in scorer.output.splitlines() if line.startswith("error:")][-1]
        assert "partition 0: offsets 10 to 10" in error
        assert scorer.consumed() == 10
        scorer.start("-c", FAILING_JOB)
    assert scorer.end() == 7


COMPILER = shutil.which("cc")


@pytest.mark.fault("F20")
@pytest.mark.nightly
@pytest.mark.skipif(COMPILER is None, reason="needs a C compiler (Debian: apt-get install gcc libc6-dev)")
def test_a_machines_clock_that_is_set_back_an_hour_stops_no_score(job, tmp_path, record_property):
    scorer, region, sent = job()
    library, source = tmp_path / "set_back.so", Path(__file__).with_name("set_back.c")
    subprocess.run([COMPILER, "-shared", "-fPIC", "-O2", "-o", str(library), str(source), "-ldl"], check=True)
    off_by = scorer.folder / "off_by"
    off_by.write_text("0", encoding="utf-8")
    sent.start(events(region, range(30)), LD_PRELOAD=str(library), CLOCK_OFF_BY=str(off_by))
    off_by.write_text("-3600", encoding="utf-8")
    began = time.monotonic()
    sent.send(events(region, range(30, 60)))
    sent.recovers(began, record_property)
    assert "set back by 3600 s" in " ".join(scorer.output.split())
    sent.end_and_check()


FIRST, MORE = 30, 10


@pytest.fixture(scope="module")
def used(new_topic, new_scorer, new_region):
    """A job that has counted FIRST events and was stopped; MORE wait in its topic."""
    topic, region = new_topic("damaged"), new_region("riverton")
    scorer = new_scorer("used", topic, RISK_TRIGGER_S="0.2")
    region.publish(scorer.artifacts)
    scorer.start()
    for first in range(0, FIRST, 10):
        topic.send(events(region, range(first, first + 10), partitions=1))
        scorer.wait_until(lambda so_far=first + 10: scorer.consumed() == so_far)
    assert scorer.end(signal.SIGTERM) == 0
    topic.send(events(region, range(FIRST, FIRST + MORE), partitions=1))
    return scorer


def flip_state(pattern, which=slice(None), *, alone=False):
    """Of the state's files, the oldest first, a bit in the middle of each of these: `N.changelog`, `N.zip` for a
    snapshot, and the tables that it refers to.

    alone: without the changes that led to the snapshot. Spark deletes them, too, after some batches: from then on only
    the snapshot knows what they led to.
    """

    def of_state(spark, pattern):
        paths = sorted((spark / "state").rglob(pattern), key=lambda path: (len(path.name), path.name))
        assert paths, f"Spark keeps no {pattern}: there is nothing to damage"
        return paths

    def damage(spark):
        if alone:
            snapshot = int(of_state(spark, "*.zip")[-1].stem)
            for path in of_state(spark, "*.changelog"):
                if int(path.stem) <= snapshot:
                    path.unlink()
        for path in of_state(spark, pattern)[which]:
            content = bytearray(path.read_bytes())
            content[len(content) // 2] ^= 1
            path.write_bytes(content)

    return damage


DAMAGES = {
    "nothing": lambda spark: None,
    "delete_offsets": lambda spark: (spark / "offsets" / str(newest(spark / "offsets"))).unlink(),
    "delete_metadata": lambda spark: (spark / "metadata").unlink(),
    "delete_state": lambda spark: shutil.rmtree(spark / "state"),
    "flip_newest_changes": flip_state("*.changelog", slice(-1, None)),
    "flip_snapshots": flip_state("*.zip"),
    "flip_tables": flip_state("*.sst"),
    "flip_the_only_snapshot": flip_state("*.zip", alone=True),
    "flip_the_only_tables": flip_state("*.sst", alone=True),
}
MADE_UP_FOR = ("flip_snapshots", "flip_tables")
REFUSED = [damage for damage in DAMAGES if damage not in ("nothing", *MADE_UP_FOR)]


@pytest.mark.fault("F31")
@pytest.mark.nightly
@pytest.mark.parametrize("damage", REFUSED)
def test_a_damaged_checkpoint_is_named_and_nothing_is_written(damage, used, new_scorer):
    scorer = copy_of(used, new_scorer, damage)
    stored = scorer.points()
    scorer.start()
    scorer.assert_ended(8, "checkpoint --reset")
    assert scorer.points() == stored


def scores_after(damage, used, new_scorer):
    """(scorer that has counted all, its scores)"""
    scorer = copy_of(used, new_scorer, damage)
    scorer.start()
    scorer.wait_until(lambda: scorer.consumed() == FIRST + MORE)
    assert scorer.end(signal.SIGTERM) == 0
    assert scorer.totals()["riverton"]["counted"] == FIRST + MORE
    return scorer, {key: fields for key, fields in scorer.points().items() if key[0].startswith("risk")}


@pytest.fixture(scope="module")
def undamaged(used, new_scorer):
    scores = scores_after("nothing", used, new_scorer)[1]
    assert len(scores) >= 4 * 36 * 2 * 3  # four sendings, each in one batch or more
    return scores


@pytest.mark.fault("F31")
@pytest.mark.nightly
@pytest.mark.parametrize("damage", MADE_UP_FOR)
def test_a_damaged_snapshot_is_made_up_for_by_the_changes_since_the_beginning(damage, used, undamaged, new_scorer):
    scorer, scores = scores_after(damage, used, new_scorer)
    assert scores == undamaged
    spark_said = (scorer.checkpoint / "spark.log").read_text(encoding="utf-8", errors="replace")
    assert "Failed to load snapshot" in spark_said, "Spark has not met the damage"


def copy_of(used, new_scorer, damage):
    scorer = new_scorer(damage, used.topic)
    for name in ("artifacts", "checkpoint", "scores.lp"):
        source, target = used.folder / name, scorer.folder / name
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        else:
            shutil.copy(source, target)
    roster = scorer.checkpoint / "roster.json"
    moved = roster.read_text(encoding="utf-8").replace(str(used.folder), str(scorer.folder))
    roster.write_text(moved, encoding="utf-8")
    DAMAGES[damage](scorer.checkpoint / "spark")
    return scorer

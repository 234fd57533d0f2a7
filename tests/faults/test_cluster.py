"""Spark's state away from the job: workers that share nothing else are killed and frozen; an object store, too."""

import shutil
import signal
import threading
import time
from contextlib import contextmanager, suppress

import pytest
from pyarrow.fs import FileSelector, S3FileSystem

from tests.faults.stores import Sent, events
from tests.harness.fake_stores import SECRET, object_store
from tests.harness.spark_cluster import family, frozen, spark_cluster

pytestmark = pytest.mark.nightly


@pytest.mark.fault("F04")
def test_what_workers_of_other_machines_count_is_what_one_process_would(job, tmp_path, record_property):
    (tmp_path / "shared").mkdir()
    scorer, region, sent = job(RISK_SPARK_STATE=str(tmp_path / "shared"))
    with spark_cluster(tmp_path, hidden=scorer.folder) as cluster:
        killed, halted = cluster.add_worker(), cluster.add_worker()
        sent.start(events(region, range(30)), RISK_MASTER=cluster.url, SPARK_LOCAL_IP="127.0.0.1")

        for process in family(killed):
            process.kill()
        began = time.monotonic()
        sent.send(events(region, range(30, 60)))
        sent.recovers(began, record_property)

        cluster.add_worker()
        with frozen(halted):
            sent.send(events(region, range(60, 90)))
            time.sleep(60)
        began = time.monotonic()
        sent.send(events(region, range(90, 120)))
        sent.wait()
        record_property("recovery_after_freeze_s", time.monotonic() - began)

        assert scorer.end(signal.SIGTERM) == 0
    sent.check()
    (state,) = (tmp_path / "shared").iterdir()
    assert (scorer.checkpoint / "spark").resolve() == state


# moto's server answers the client that copies whole files, and no other, with a 100 that it takes for the end.
SPARK = "spark.hadoop.fs.s3a.optimized.copy.from.local.enabled false\n"


@contextmanager
def mirror(store, folder):
    """What Spark plans and commits there, also in `folder`/spark, where the witness looks."""
    files = S3FileSystem(
        endpoint_override=store.address, access_key="me", secret_key=SECRET, region="us-east-1", scheme="http"
    )
    ended = threading.Event()

    def look():
        for info in files.get_file_info(FileSelector("risk/state", allow_not_found=True, recursive=True)):
            part, number = info.path.split("/")[-2:]
            target = folder / "spark" / part / number
            if info.is_file and part in ("offsets", "commits") and number.isdigit() and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                with files.open_input_stream(info.path) as file:
                    target.write_bytes(file.read())

    def keep_looking():
        while not ended.wait(0.5):
            with suppress(OSError):  # it is frozen for a while
                look()

    thread = threading.Thread(target=keep_looking)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        look()


def test_what_is_counted_there_is_what_a_disk_would_have(new_topic, new_scorer, new_region, tmp_path, record_property):
    with object_store(tmp_path) as store:
        store.make_bucket("risk")
        (tmp_path / "spark-defaults.conf").write_text(SPARK)
        settings = {**store.environment, "RISK_SPARK_STATE": "s3a://risk/state", "SPARK_CONF_DIR": str(tmp_path)}
        topic = new_topic("stored", partitions=2)
        scorer = new_scorer("stored", topic, **settings)
        region = new_region("riverton")
        region.publish(scorer.artifacts)
        sent = Sent(scorer)
        sent.witness.checkpoint = tmp_path / "mirror"
        with sent.witness, mirror(store, tmp_path / "mirror"):
            sent.start(events(region, range(30)))

            sent.send(events(region, range(30, 60)))
            scorer.end(signal.SIGKILL)
            began = time.monotonic()
            scorer.start()
            sent.wait()
            record_property("recovery_s", time.monotonic() - began)

            with frozen(store.process):
                sent.send(events(region, range(60, 90)))
                time.sleep(20)
            began = time.monotonic()
            sent.wait()
            record_property("recovery_after_freeze_s", time.monotonic() - began)
            assert scorer.end(signal.SIGTERM) == 0
        sent.check()
        assert SECRET not in scorer.output
        assert (scorer.checkpoint / "spark").read_text().startswith("s3a://risk/state/state-")

        refuses_a_second_writer(scorer, new_scorer("copy", topic, **settings), region)


def refuses_a_second_writer(scorer, copy, region):
    """A copy of the checkpoint has no lock in common with it: the store's files are what is left to notice."""
    shutil.copytree(scorer.folder, copy.folder, dirs_exist_ok=True)
    scorer.start()
    copy.start()
    deadline = time.monotonic() + 240
    number = 90
    while scorer.process.poll() is None and copy.process.poll() is None:
        assert time.monotonic() < deadline, "both go on"
        scorer.topic.send(events(region, [number]))
        number += 1
        time.sleep(1)
    loser, winner = (scorer, copy) if copy.process.poll() is None else (copy, scorer)
    assert loser.end() != 0
    assert "offsets and commits do not match" in loser.output
    winner.wait_until(lambda: winner.consumed() == number)
    assert winner.end(signal.SIGTERM) == 0

"""A Spark cluster whose workers share nothing with the job but Spark's state: one is killed, another one frozen."""

import signal
import time

import pytest

from tests.faults.sent import events
from tests.harness.spark_cluster import family, frozen, spark_cluster

pytestmark = pytest.mark.nightly


@pytest.mark.fault("F04")
def test_what_workers_of_other_machines_count_is_what_one_process_would(job, tmp_path, record_property):
    (tmp_path / "shared").mkdir()
    scorer, region, sent = job(RISK_SPARK_STATE=str(tmp_path / "shared"))
    with spark_cluster(tmp_path, hidden=scorer.folder) as cluster:
        killed, halted = cluster.add_worker(), cluster.add_worker()
        scorer.start(RISK_MASTER=cluster.url, SPARK_LOCAL_IP="127.0.0.1")
        sent.send(events(region, range(30)))
        sent.wait()

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

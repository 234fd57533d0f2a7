"""What a batch opens, it closes: a job runs for months and makes two batches a second."""

import psutil

BATCHES = 12


def connections(session):
    java = psutil.Process(session.sparkContext._jvm.java.lang.ProcessHandle.current().pid())
    return sum(connection.status != psutil.CONN_LISTEN for connection in java.net_connections(kind="all"))


def test_a_batch_leaves_no_connection_open(random_job, session):
    """Spark 4.2.0 did not close the one between state and Python worker (SPARK-58932)."""
    job = random_job("connections")
    with job.running():
        job.wait_until(lambda: len(job.published) >= 3)
        before, first = connections(session), len(job.published)
        job.wait_until(lambda: len(job.published) >= first + BATCHES)
        after = connections(session)
    assert after - before < BATCHES / 2

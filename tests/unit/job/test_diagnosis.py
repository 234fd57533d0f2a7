"""What Spark says of a failure is told without the secrets that may stand in it."""

import threading

import pytest

from schemas.errors import LedgerUnbalanced, SinkUnavailable, SparkFailed
from streaming.settings import Settings
from streaming.spark import Diagnosis, ended_by_signal


def test_no_secret_of_the_settings_is_in_what_an_operator_reads(tmp_path):
    settings = Settings(checkpoint=tmp_path, influx_token="quokka77", kafka_password="bilby88")
    said = "java.lang.IllegalStateException: jaas password=bilby88; header Authorization: Token quokka77"
    failure = Diagnosis(settings).failure(RuntimeError(f"== plan ==\n{said}\n  at Some.java"))
    assert isinstance(failure, SparkFailed)
    assert "IllegalStateException: jaas password=***; header Authorization: Token ***" in str(failure)
    assert "quokka77" not in str(failure)
    assert "bilby88" not in str(failure)


def test_a_secret_is_not_cut_in_two_by_the_end_of_the_line(tmp_path):
    settings = Settings(checkpoint=tmp_path, influx_token="quokka77")
    failure = Diagnosis(settings).failure(RuntimeError(f"java.lang.Error: {'x' * 480}quokka77"))
    assert "quokka" not in str(failure)


@pytest.mark.parametrize(
    "said",
    [
        "org.apache.spark.SparkException: Python worker exited unexpectedly (crashed). Consider setting 'spark.sql...'",
        "org.apache.spark.SparkException: Task failed\nCaused by: java.io.IOException: Broken pipe",
    ],
)
def test_a_python_worker_that_was_killed_is_told_from_a_fault_of_ours(said, tmp_path):
    error = RuntimeError(f"Job aborted due to stage failure\n{said}\n  at Some.java")
    failure = Diagnosis(Settings(checkpoint=tmp_path)).failure(error)
    assert isinstance(failure, SparkFailed)
    assert "a Python worker of Spark ended at every try" in str(failure)
    assert "RISK_MAX_EVENTS_PER_BATCH" in str(failure)


def test_a_python_worker_that_did_not_start_is_told_in_words_and_no_line_of_a_plan_ever(tmp_path):
    diagnosis = Diagnosis(Settings(checkpoint=tmp_path))
    plan = "\n=== Streaming Query ===\nProject\n+- Scan\n   +- LocalRelation <empty>"
    failure = diagnosis.failure(RuntimeError(f"SparkException: Python worker failed to connect back.{plan}"))
    assert isinstance(failure, SparkFailed)
    assert "a Python worker of Spark did not start in time" in str(failure)
    assert diagnosis.first_line(RuntimeError(f"Job aborted: no room{plan}")) == "Job aborted: no room"


@pytest.mark.parametrize(
    ("failure", "told_to_stop", "is_a_stop"),
    [
        (SparkFailed("a NullPointerException, of all things"), True, True),
        (SparkFailed("a NullPointerException"), False, False),
        (LedgerUnbalanced("two messages became three"), True, False),  # a signal excuses no fault of ours
        (SinkUnavailable("away for long"), True, False),
    ],
)
def test_a_failure_beside_a_signal_is_a_stop_only_where_spark_failed(failure, told_to_stop, is_a_stop):
    stop = threading.Event()
    if told_to_stop:
        stop.set()
    assert ended_by_signal(failure, stop) is is_a_stop


def test_a_signal_that_comes_to_us_just_after_sparks_processes_is_waited_for():
    stop = threading.Event()
    late = threading.Timer(0.2, stop.set)
    late.start()
    assert ended_by_signal(SparkFailed("Java is gone"), stop)
    late.join()

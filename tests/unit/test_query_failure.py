"""What Spark says of a failure is told without the secrets that may stand in it."""

import pytest

from schemas.errors import PipelineError
from streaming.query_failure import failure_of
from streaming.settings import Settings


def test_no_secret_of_the_settings_is_in_what_an_operator_reads(tmp_path):
    settings = Settings(checkpoint=tmp_path, influx_token="quokka77", kafka_password="bilby88")
    said = "java.lang.IllegalStateException: jaas password=bilby88; header Authorization: Token quokka77"
    failure = failure_of(RuntimeError(f"== plan ==\n{said}\n  at Some.java"), settings)
    assert isinstance(failure, PipelineError)
    assert "IllegalStateException: jaas password=***; header Authorization: Token ***" in str(failure)
    assert "quokka77" not in str(failure)
    assert "bilby88" not in str(failure)


def test_a_secret_is_not_cut_in_two_by_the_end_of_the_line(tmp_path):
    settings = Settings(checkpoint=tmp_path, influx_token="quokka77")
    failure = failure_of(RuntimeError(f"java.lang.Error: {'x' * 480}quokka77"), settings)
    assert "quokka" not in str(failure)


@pytest.mark.parametrize(
    "said",
    [
        "org.apache.spark.SparkException: Python worker exited unexpectedly (crashed). Consider setting 'spark.sql...'",
        "org.apache.spark.SparkException: Task failed\nCaused by: java.io.IOException: Broken pipe",
    ],
)
def test_a_python_worker_that_was_killed_is_told_from_a_fault_of_ours(said, tmp_path):
    failure = failure_of(
        RuntimeError(f"Job aborted due to stage failure\n{said}\n  at Some.java"), Settings(checkpoint=tmp_path)
    )
    assert isinstance(failure, PipelineError)
    assert "a Python worker of Spark ended at every try" in str(failure)
    assert "RISK_MAX_EVENTS_PER_BATCH" in str(failure)

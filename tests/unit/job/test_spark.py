"""What a job asks of Spark: its jars, and what it says of a failure."""

import fcntl
import threading
from pathlib import Path

import pyspark
import pytest

from schemas.errors import LedgerUnbalanced, SettingsError, SinkUnavailable, SparkFailed
from streaming.jars import (
    CONNECTOR,
    OBJECT_STORE_CLIENT,
    alone_with_ivy,
    fetched_jars,
    ivy_folder,
    jar_options,
    java,
    java_version,
    keep_list_of_jars,
    needed_packages,
)
from streaming.job import connected
from streaming.settings import Settings
from streaming.spark import Diagnosis, ended_by_signal


def test_ivy_is_asked_until_its_jars_are_known_and_again_when_one_is_gone(tmp_path):
    asked = jar_options(tmp_path, [CONNECTOR])
    assert asked["spark.jars.packages"] == CONNECTOR
    assert "spark.jars" not in asked
    folder = ivy_folder(tmp_path) / "jars"
    folder.mkdir(parents=True)
    jars = [folder / "org.a_one-1.0.jar", folder / "org.b_two-2.0.jar"]
    for jar in (*jars, folder / "org.b_two-1.9.jar"):
        jar.touch()
    keep_list_of_jars(tmp_path, [CONNECTOR], [f"spark://127.0.0.1:4040/jars/{jar.name}" for jar in jars])
    assert jar_options(tmp_path, [CONNECTOR]) == {"spark.jars": f"{jars[0]},{jars[1]}"}
    jars[1].unlink()
    assert jar_options(tmp_path, [CONNECTOR]) == asked


def launcher(folder, version):
    """A Java of that version in folder/bin, as far as `java -version` goes."""
    path = folder / "bin" / "java"
    path.parent.mkdir(parents=True)
    path.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    path.chmod(0o755)
    return str(path)


def test_java_is_that_of_java_home_as_spark_takes_it_and_without_it_that_of_path(tmp_path, monkeypatch):
    old, new = (launcher(tmp_path / version, version) for version in ("1.8.0_402", "21.0.1"))
    monkeypatch.setenv("PATH", f"{tmp_path}/21.0.1/bin:/bin")
    monkeypatch.delenv("JAVA_HOME", raising=False)
    assert (java(), java_version()) == (new, 21)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "1.8.0_402"))
    assert java() == old
    with pytest.raises(SettingsError, match=r"is Java 8: install Java 17.*JAVA_HOME or PATH"):
        java_version()
    monkeypatch.setenv("JAVA_HOME", "/nowhere")
    with pytest.raises(SettingsError, match="JAVA_HOME=/nowhere has no bin/java"), connected(Settings()):
        pass


def test_a_cache_must_be_writable_only_for_jars_that_it_lacks(tmp_path, monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("streaming.jars.make_writable", refuse)
    monkeypatch.setattr("streaming.job.java_version", lambda: 17)
    with pytest.raises(SettingsError, match=r"Permission denied.*set RISK_CACHE"), connected(Settings(cache=tmp_path)):
        pass
    (jar,) = [ivy_folder(tmp_path) / "jars" / "org.a_one-1.0.jar"]
    jar.parent.mkdir(parents=True)
    jar.touch()
    keep_list_of_jars(tmp_path, [CONNECTOR], [f"spark://127.0.0.1:4040/jars/{jar.name}"])
    assert fetched_jars(tmp_path, [CONNECTOR]) == [jar]


def test_one_process_at_a_time_fetches_jars(tmp_path):
    tried = []

    def try_it():
        with (tmp_path / "ivy.lock").open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                tried.append("alone")
            except BlockingIOError:
                tried.append("another fetches")

    with alone_with_ivy(tmp_path):
        try_it()
    try_it()
    assert tried == ["another fetches", "alone"]


def test_a_session_without_jars_leaves_nothing_to_start_with(tmp_path):
    keep_list_of_jars(tmp_path, [CONNECTOR], [""])
    assert "spark.jars.packages" in jar_options(tmp_path, [CONNECTOR])


def test_the_client_of_an_object_store_is_fetched_where_the_state_is_in_one_and_fits_pyspark(tmp_path):
    assert needed_packages(tmp_path, "") == [CONNECTOR]
    stored = [CONNECTOR, OBJECT_STORE_CLIENT]
    assert needed_packages(tmp_path, "s3a://bucket/state") == stored
    (tmp_path / "spark").write_text("s3a://bucket/state/state-1\n")
    assert needed_packages(tmp_path, "") == stored
    keep_list_of_jars(tmp_path, [CONNECTOR], ["a.jar"])
    assert "spark.jars.packages" in jar_options(tmp_path, stored)
    client = OBJECT_STORE_CLIENT.rpartition(":")[2]
    assert Path(pyspark.__file__).with_name("jars").joinpath(f"hadoop-client-api-{client}.jar").is_file()


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

"""What a job asks of Spark: its jars, and what it says of a failure."""

import hashlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from errno import EIO, ENOSPC
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from schemas.errors import LedgerUnbalanced, SettingsError, SinkUnavailable, SparkFailed
from streaming.jars import JarGroup, fetch_jars, java, java_version, main, missing_jars, needed_jars
from streaming.job import connected
from streaming.settings import Settings
from streaming.spark import Diagnosis, ended_by_signal


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository of two jars; gives the folder in which they lie."""
    folder = tmp_path / "repository"
    lines = []
    for name in ("one-1.0", "two-2.0"):
        place = f"org/a/{name}.jar"
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(name.encode())
        lines.append(f"{hashlib.sha256(name.encode()).hexdigest()}  {place}\n")
    listed = tmp_path / "jars.sha256"
    listed.write_text("# jars\n# [connector] the first\n" + lines[0] + "\n# [broker] the second\n" + lines[1])
    monkeypatch.setattr("streaming.jars.LISTED", listed)
    monkeypatch.setattr("streaming.jars.central", lambda: f"{folder.as_uri()}/")
    return folder / "org" / "a"


def test_a_jar_is_fetched_once_and_again_when_it_is_gone(tmp_path, repository):
    both: list[JarGroup] = ["connector", "broker"]
    assert missing_jars(tmp_path, both) == ["org/a/one-1.0.jar", "org/a/two-2.0.jar"]
    first, second = fetch_jars(tmp_path, both)
    assert (first.read_bytes(), second.name) == (b"one-1.0", "two-2.0.jar")
    assert missing_jars(tmp_path, both) == []
    (repository / "one-1.0.jar").unlink()
    assert fetch_jars(tmp_path, both) == [first, second]  # nobody is asked
    second.unlink()
    assert (fetch_jars(tmp_path, both), second.is_file()) == ([first, second], True)
    assert sorted(path.name for path in first.parent.iterdir()) == ["one-1.0.jar", "two-2.0.jar"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            b"changed",
            rf"one-1\.0\.jar from file:\S+ has the sha256 {hashlib.sha256(b'changed').hexdigest()} in place of",
        ),
        (None, r"one-1\.0\.jar could not be fetched from .*HTTPS_PROXY.*copy the folder"),
    ],
    ids=["other bytes", "missing"],
)
def test_a_jar_that_is_another_or_cannot_be_fetched_is_named_with_what_to_do_and_leaves_nothing(
    tmp_path, repository, content, said
):
    jar = repository / "one-1.0.jar"
    jar.unlink() if content is None else jar.write_bytes(content)
    with pytest.raises(SettingsError, match=said):
        fetch_jars(tmp_path, ["connector"])
    assert list((tmp_path / "jars").iterdir()) == []


@pytest.mark.parametrize("number", [ENOSPC, EIO])
def test_a_full_or_broken_disk_is_said_at_once_and_not_taken_for_a_bad_connection(
    tmp_path, repository, monkeypatch, number
):
    tries = []

    def refuse(*_):
        tries.append(number)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("streaming.jars.shutil.copyfileobj", refuse)
    with pytest.raises(SettingsError, match=rf"cannot be written.*{os.strerror(number)}.*set RISK_CACHE") as raised:
        fetch_jars(tmp_path, ["connector"])
    assert (tries, "HTTPS_PROXY" in str(raised.value)) == ([number], False)


class CutOff(BaseHTTPRequestHandler):
    """Sends half of each jar the first time, and all of it the second."""

    asked: ClassVar[list[str]] = []

    def do_GET(self):
        content = Path(self.path).stem.encode()
        self.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content if self.asked.count(self.path) > 1 else content[:3])

    def log_message(self, *_):
        pass


def test_a_connection_that_is_cut_is_tried_again_and_not_taken_for_a_changed_jar(tmp_path, repository, monkeypatch):
    with ThreadingHTTPServer(("127.0.0.1", 0), CutOff) as server:
        monkeypatch.setattr("streaming.jars.central", lambda: f"http://127.0.0.1:{server.server_port}/")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        (jar,) = fetch_jars(tmp_path, ["connector"])
        server.shutdown()
    assert (jar.read_bytes(), CutOff.asked) == (b"one-1.0", ["/org/a/one-1.0.jar"] * 2)


def test_several_processes_may_fetch_at_once(tmp_path, repository):
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: fetch_jars(tmp_path, ["connector", "broker"]), range(8)))
    assert {path.read_bytes() for paths in results for path in paths} == {b"one-1.0", b"two-2.0"}


def test_a_group_that_is_not_listed_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="brokers are no groups of jars: choose of connector, object-store, broker"):
        main(str(tmp_path), "brokers")


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


def test_a_cache_must_be_writable_only_for_jars_that_it_lacks(tmp_path, repository, monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied")

    (there,) = fetch_jars(tmp_path / "filled", ["connector"])
    monkeypatch.setattr("streaming.jars.make_writable", refuse)
    monkeypatch.setattr("streaming.job.java_version", lambda: 17)
    with pytest.raises(SettingsError, match=r"Permission denied.*set RISK_CACHE"), connected(Settings(cache=tmp_path)):
        pass
    assert fetch_jars(tmp_path / "filled", ["connector"]) == [there]


def test_the_client_of_an_object_store_is_fetched_where_the_state_is_in_one(tmp_path):
    assert needed_jars(tmp_path, "") == ["connector"]
    stored = ["connector", "object-store"]
    assert needed_jars(tmp_path, "s3a://bucket/state") == stored
    (tmp_path / "spark").write_text("s3a://bucket/state/state-1\n")
    assert needed_jars(tmp_path, "") == stored


PLAN = "\n=== Streaming Query ===\nProject\n+- Scan\n   +- LocalRelation <empty>"


@pytest.mark.parametrize(
    ("of_spark", "told"),
    [
        (
            "== plan ==\njava.lang.IllegalStateException: jaas password=bilby88; header Authorization: Token quokka77\n"
            "  at Some.java",
            ["IllegalStateException: jaas password=***; header Authorization: Token ***"],
        ),
        (f"java.lang.Error: {'x' * 480}quokka77", ["java.lang.Error: xxx"]),  # not cut in two by the end of the line
        (
            "Job aborted\norg.apache.spark.SparkException: Python worker exited unexpectedly (crashed).\n  at x",
            ["a Python worker of Spark ended at every try", "RISK_MAX_EVENTS_PER_BATCH"],
        ),
        (
            "org.apache.spark.SparkException: Task failed\nCaused by: java.io.IOException: Broken pipe\n at x",
            ["a Python worker of Spark ended at every try", "RISK_MAX_EVENTS_PER_BATCH"],
        ),
        (
            f"SparkException: Python worker failed to connect back.{PLAN}",
            ["a Python worker of Spark did not start in time"],
        ),
        (f"Job aborted: no room{PLAN}", ["Job aborted: no room: see "]),
    ],
    ids=["a secret", "a long secret", "killed", "a pipe", "did not start", "a plan"],
)
def test_what_spark_says_is_told_in_words_without_its_plans_and_without_a_secret(tmp_path, of_spark, told):
    settings = Settings(checkpoint=tmp_path, influx_token="quokka77", kafka_password="bilby88")
    failure = Diagnosis(settings).failure(RuntimeError(of_spark))
    assert isinstance(failure, SparkFailed)
    assert all(words in str(failure) for words in told), failure
    assert not any(words in str(failure) for words in ("quokka", "bilby", "LocalRelation", "Some.java"))


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

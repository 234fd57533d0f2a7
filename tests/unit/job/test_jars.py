"""Which jars a session is started with: those that were fetched before, as long as all of them are there."""

import fcntl
from pathlib import Path

import pyspark
import pytest

from schemas.errors import SettingsError
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

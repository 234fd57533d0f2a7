"""Roster and artifacts reach Spark's workers through the session: no worker looks into the driver's folders."""

import shutil
from pathlib import Path

import pytest

from schemas.errors import ArtifactsAway, SparkFailed
from schemas.records import Entry
from streaming.flow.workers import Shipment, on_this_worker, shipped_roster


class Session:
    """What Shipment needs of Spark: a folder in which files arrive, each once."""

    def __init__(self, root):
        self.root = root
        root.mkdir()

    def addFile(self, path):
        assert not (self.root / Path(path).name).exists()
        shutil.copy(path, self.root)

    def shipment(self):
        return Shipment(self, self.root.with_name("shipped"))


@pytest.fixture
def spark(tmp_path, monkeypatch):
    monkeypatch.setattr("pyspark.SparkFiles._is_running_on_worker", True)
    monkeypatch.setattr("pyspark.SparkFiles._root_directory", str(tmp_path / "files"))
    return Session(tmp_path / "files")


def folder_of(home, version, *, region="riverton", content="weights"):
    folder = home / region / version
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(content)
    return str(folder)


def roster_of(folder, challenger=""):
    return {"riverton": Entry(folder, Path(folder).name, "spec", challenger)}


def test_a_worker_has_the_newest_roster_and_a_copy_of_its_artifacts(spark, tmp_path):
    first, second = folder_of(tmp_path, "v1"), folder_of(tmp_path, "v2", content="others")
    shipment = spark.shipment()
    shipment.send(roster_of(first))
    assert shipped_roster() == roster_of(first)
    shipment.send(roster_of(second, challenger=first))
    assert shipped_roster() == roster_of(second, challenger=first)
    shutil.rmtree(tmp_path / "riverton")
    homes = [Path(on_this_worker(folder)) for folder in (first, second, first)]
    assert [(home / "manifest.json").read_text() for home in homes] == ["weights", "others", "weights"]
    assert [(home.parent.name, home.name) for home in homes[:2]] == [("riverton", "v1"), ("riverton", "v2")]
    assert homes[0].is_relative_to(spark.root)


def test_the_same_roster_is_sent_once(spark, tmp_path):
    shipment, folder = spark.shipment(), folder_of(tmp_path, "v1")
    for _ in range(3):
        shipment.send(roster_of(folder))
    assert len(list(spark.root.iterdir())) == 2  # the artifact, the roster
    spark.shipment().send(roster_of(folder))  # of the next query of the spark
    assert len(list(spark.root.iterdir())) == 3
    assert shipped_roster() == roster_of(folder)


def test_a_roster_whose_artifact_is_still_on_its_way_is_not_in_force(spark, tmp_path):
    first, second = folder_of(tmp_path, "v1"), folder_of(tmp_path, "v2")
    shipment = spark.shipment()
    shipment.send(roster_of(first))
    known = set(spark.root.iterdir())
    shipment.send(roster_of(second))
    (late,) = [path for path in set(spark.root.iterdir()) - known if path.suffix == ".zip"]
    late.unlink()
    assert shipped_roster() == roster_of(first)


def test_without_a_roster_nothing_is_counted(spark):
    with pytest.raises(SparkFailed, match="no roster"):
        shipped_roster()


def test_a_folder_that_is_gone_is_named_and_sent_when_it_is_back(spark, tmp_path):
    shipment, gone = spark.shipment(), str(tmp_path / "riverton" / "v1")
    with pytest.raises(ArtifactsAway, match="v1 cannot be read"):
        shipment.send(roster_of(gone))
    folder_of(tmp_path, "v1")
    shipment.send(roster_of(gone))
    assert shipped_roster() == roster_of(gone)


def test_outside_of_a_worker_a_folder_is_where_it_is(tmp_path):
    assert on_this_worker(str(tmp_path / "v1")) == str(tmp_path / "v1")

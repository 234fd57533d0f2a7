"""Spark's state in a folder that several machines share: begun once, never replaced by an empty one."""

import pytest

from schemas.errors import CheckpointError, SettingsError
from streaming.disk.reset import set_aside
from streaming.disk.spark_files import last_begun
from streaming.disk.spark_folder import place_state
from streaming.settings import Settings
from tests.harness.checkpoint import spark_files

NOON_S = 1_764_072_000


@pytest.fixture
def places(tmp_path):
    """(checkpoint, shared folder)"""
    for name in ("checkpoint", "shared"):
        (tmp_path / name).mkdir()
    return tmp_path / "checkpoint", tmp_path / "shared"


def test_the_state_begins_in_the_shared_folder_and_stays_there(places):
    checkpoint, shared = places
    place_state(checkpoint, str(shared), "state-1")
    spark_files(checkpoint, 0, read={"0": 10}, at_s=NOON_S)
    place_state(checkpoint, str(shared), "state-2")
    assert (checkpoint / "spark").resolve() == shared / "state-1"
    assert [path.name for path in shared.iterdir()] == ["state-1"]
    assert last_begun(checkpoint) == 0
    assert (shared / "state-1" / "offsets" / "0").exists()


def test_a_folder_that_is_not_mounted_is_an_error_and_begins_nothing(places):
    checkpoint, shared = places
    place_state(checkpoint, str(shared), "state-1")
    shared.rename(shared.with_name("elsewhere"))
    for given in (str(shared), ""):
        with pytest.raises(CheckpointError, match=r"state-1, which is not there: mount"):
            place_state(checkpoint, given, "state-2")
    with pytest.raises(CheckpointError, match="RISK_SPARK_STATE"):
        place_state(checkpoint.with_name("new"), str(shared), "state-2")


def test_a_state_of_this_machine_alone_is_not_shared_by_itself(places):
    checkpoint, shared = places
    spark_files(checkpoint, 0, read={"0": 10}, at_s=NOON_S)
    with pytest.raises(CheckpointError, match=r"on this machine alone.*make .* a link"):
        place_state(checkpoint, str(shared), "state-1")
    (checkpoint / "spark").rename(shared / "state-1")  # what the error asks for
    (checkpoint / "spark").symlink_to(shared / "state-1")
    place_state(checkpoint, str(shared), "state-2")
    assert last_begun(checkpoint) == 0


def test_without_a_shared_folder_nothing_is_placed(places):
    checkpoint, _ = places
    place_state(checkpoint, "", "state-1")
    assert list(checkpoint.iterdir()) == []


@pytest.mark.parametrize("is_there", [True, False])
def test_a_reset_leaves_the_old_state_where_it_is_and_the_next_start_begins_another(places, is_there):
    checkpoint, shared = places
    place_state(checkpoint, str(shared), "state-1")
    if not is_there:
        (shared / "state-1").rmdir()
    old = set_aside(checkpoint, "20261128T000000Z", from_ms=0)
    assert (old / "spark").readlink() == shared / "state-1"
    place_state(checkpoint, str(shared), "state-2")
    assert (checkpoint / "spark").resolve() == shared / "state-2"


def test_a_cluster_without_a_shared_folder_is_refused():
    with pytest.raises(SettingsError, match=r"spark://a:7077 works on other machines: give RISK_SPARK_STATE"):
        Settings.from_environment({"RISK_MASTER": "spark://a:7077"})
    given = {"RISK_MASTER": "spark://a:7077", "RISK_SPARK_STATE": "/shared"}
    assert Settings.from_environment(given).spark_state == "/shared"
    assert Settings.from_environment({"RISK_MASTER": "local-cluster[2,1,1024]"}).spark_state == ""

"""What every registry does. Whoever adds one adds it to tests/harness/registries.py."""

import json
import shutil
from contextlib import suppress

import pytest

from lifecycle.registry import manifest_digest, register
from models.artifact import read_artifact
from schemas.errors import ArtifactError, AuditError, RegistryError
from schemas.records import RegionState, read_pointer
from tests.harness.registries import PAGE_FILES, evaluation_folder
from tests.unit.lifecycle.registry.conftest import registered, stored


@pytest.fixture
def desk(any_desk):
    return any_desk


def test_what_is_registered_comes_back_byte_for_byte_and_has_no_role(desk, tmp_path):
    (version,) = desk.make(1)
    assert desk.open().regions() == []
    for _ in range(2):
        desk.register(version)
    digest = manifest_digest(desk.made_folder(version))
    assert desk.state() == RegionState(manifests={version: digest})
    assert desk.open().regions() == ["toyville"]
    assert desk.events() == [("model_registered", version)]
    shutil.copytree(desk.made_folder(version), tmp_path / "kept")
    shutil.rmtree(desk.made)
    (tmp_path / "back").mkdir()
    desk.open().fetch("toyville", version, tmp_path / "back")
    given, back = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("kept", "back"))
    assert back == given


def test_a_forged_manifest_that_agrees_with_itself_is_not_the_one_that_was_registered(desk):
    (version,) = registered(desk, 1)
    desk.promote(version)
    (path,) = stored(desk, "manifest.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"seed": 7}))
    with pytest.raises(RegistryError, match="was registered"):
        desk.sync()
    assert read_pointer(desk.artifacts, "toyville") is None


def test_a_version_that_lacks_a_file_is_named_with_a_remedy(desk, tmp_path):
    (version,) = registered(desk, 1)
    for path in stored(desk, "baseline.npz"):
        path.unlink()
    (tmp_path / "back").mkdir()
    with pytest.raises(RegistryError, match="cannot be copied") as caught:
        desk.open().fetch("toyville", version, tmp_path / "back")
    assert caught.value.remedy


def test_a_page_that_vanishes_while_it_is_registered_is_an_error_of_the_registry(desk, tmp_path):
    (version,) = desk.make(1)
    folder = desk.made_folder(version)
    with pytest.raises(RegistryError, match="cannot be written"):
        desk.open().add("toyville", folder, manifest_digest(folder), lambda: None, tmp_path / "gone")


@pytest.mark.parametrize("name", PAGE_FILES)
def test_a_link_in_the_folder_of_an_evaluation_is_not_followed(desk, tmp_path, name):
    (version,), judged = desk.make(1), evaluation_folder(tmp_path / "judged")
    (tmp_path / "secret").write_text("a password")
    (judged / name).unlink()
    (judged / name).symlink_to(tmp_path / "secret")
    with suppress(RegistryError):
        register(desk.open(), desk.made_folder(version), desk.note, judged)
    copies = [path.read_text(errors="ignore") for path in desk.copies.rglob("*") if path.is_file()]
    assert "a password" not in copies
    assert (version in desk.state().manifests) == name.endswith("png")


def test_another_content_under_a_registered_version_is_refused(desk):
    (version,) = registered(desk, 1)
    path = desk.made_folder(version) / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"seed": 7}))
    read_artifact(path.parent)
    with pytest.raises(RegistryError, match="is registered with the manifest"):
        desk.register(version)
    assert len(desk.events()) == 1


def test_nothing_is_registered_that_is_damaged_and_nothing_changes_without_a_record(desk):
    first, second = desk.make(2)
    (desk.made_folder(second) / "weights.safetensors").write_bytes(b"")
    with pytest.raises(ArtifactError, match="weights"):
        desk.register(second)
    desk.audit.mkdir()
    with pytest.raises(AuditError, match="audit log"):
        desk.register(first)
    assert desk.state() == RegionState()
    desk.audit.rmdir()
    desk.register(first)
    before = desk.state()
    desk.audit.rename(desk.audit.with_name("away"))
    desk.audit.mkdir()
    with pytest.raises(AuditError, match="audit log"):
        desk.promote(first)
    assert desk.state() == before


def test_regions_do_not_touch_each_other_and_names_are_no_paths(desk):
    (version,), (other,) = desk.make(1), desk.make(1, "aston")
    desk.register(version)
    desk.register(other, "aston")
    desk.promote(other, region="aston")
    assert (desk.open().regions(), desk.state().champion) == (["aston", "toyville"], None)
    for name in ("../aston", "", ".", "Aston"):
        with pytest.raises(RegistryError, match="no region's name"):
            desk.state(name)

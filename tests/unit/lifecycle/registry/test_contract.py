"""What every registry does. Whoever adds one adds it to tests/harness/registries.py."""

import json
import shutil

import pytest

from lifecycle.registry.copying import manifest_digest
from models.artifact.artifact import read_artifact
from models.artifact.pointer import champion_of
from schemas.errors import ArtifactError, AuditError, RegistryError
from schemas.left_behind.pointer import Pointer, read_pointer, write_pointer
from schemas.left_behind.region_state import RegionState


@pytest.fixture
def desk(any_desk):
    return any_desk


def test_an_empty_registry_knows_no_region(desk):
    assert (desk.open().regions(), desk.state()) == ([], RegionState())
    for change in (lambda: desk.promote("20260101T000000Z-00000000"), desk.roll_back, desk.sync):
        with pytest.raises(RegistryError):
            change()
    assert (desk.events(), desk.open().regions()) == ([], [])


def test_what_is_registered_comes_back_byte_for_byte_and_has_no_role(desk, tmp_path):
    (version,) = desk.make(1)
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


def test_a_refusal_says_which_role_stands_against_it(desk):
    first, second = desk.make(2)
    for version in (first, second):
        desk.register(version)
        desk.promote(version)
    with pytest.raises(RegistryError, match="is the champion"):
        desk.retire(second)
    with pytest.raises(RegistryError, match="is the champion"):
        desk.promote(second, "challenger")
    desk.retire(first)
    assert desk.state().role_of(first) == "retired"
    with pytest.raises(RegistryError, match="is retired"):
        desk.promote(first)
    with pytest.raises(RegistryError, match="no champion came before"):
        desk.roll_back()
    with pytest.raises(RegistryError, match="is not registered; the newest are"):
        desk.promote("20200101T000000Z-00000000")


def test_sync_says_what_it_has_brought(desk):
    first, second = desk.make(2)
    for version in (first, second):
        desk.register(version)
    desk.promote(first)
    desk.promote(second, "challenger")
    synced = desk.sync()
    assert (synced.copied, synced.is_pointer_new, synced.fault) == ((first, second), True, None)
    synced = desk.sync()
    assert (synced.copied, synced.is_pointer_new) == ((), False)


@pytest.mark.parametrize("spoil", ["damaged copy", "missing file", "damaged pointer", "link"])
def test_sync_mends_what_was_spoilt_in_the_jobs_folder(desk, spoil):
    (version,) = desk.make(1)
    desk.register(version)
    desk.promote(version)
    desk.sync()
    place = desk.artifacts / "toyville" / version
    if spoil == "damaged copy":
        (place / "history.npz").write_bytes(b"other")
    elif spoil == "missing file":
        (place / "weights.safetensors").unlink()
    elif spoil == "link":
        shutil.rmtree(place)
        place.symlink_to(desk.made_folder(version))
    else:
        write_pointer(desk.artifacts, "toyville", Pointer(champion="20260101T000000Z-00000000"))
    desk.sync()
    assert champion_of(desk.artifacts, "toyville").version == version
    assert not place.is_symlink()
    assert sorted(path.name for path in place.parent.iterdir()) == [".lock", version, "pointer.json"]


def stored(desk, name):
    """The registry's own copies of a file."""
    copies = list(desk.copies.rglob(name))
    assert copies
    return copies


def test_sync_replaces_no_sound_artifact_of_another_content(desk):
    """It may be all that there is of it: a person decides."""
    (version,) = desk.make(1)
    desk.register(version)
    desk.promote(version)
    desk.sync()
    place = desk.artifacts / "toyville" / version
    manifest = place / "manifest.json"
    changed = manifest.read_bytes().replace(b'"seed": 0', b'"seed": 7').replace(b'"seed":0', b'"seed":7')
    assert changed != manifest.read_bytes()
    manifest.write_bytes(changed)
    assert read_artifact(place).network_error is None
    with pytest.raises(RegistryError, match="another artifact than the registered one") as caught:
        desk.sync()
    assert "move the folder away" in caught.value.remedy
    assert manifest.read_bytes() == changed
    place.rename(desk.folder / "away")
    assert desk.sync().copied == (version,)


@pytest.mark.parametrize("name", ["manifest.json", "weights.safetensors", "card.md"])
def test_sync_takes_nothing_that_the_registry_has_changed(desk, name):
    first, second = desk.make(2)
    for version in (first, second):
        desk.register(version)
    desk.promote(first)
    desk.sync()
    desk.promote(second)
    for path in stored(desk, name):
        path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ArtifactError):
        desk.sync()
    assert read_pointer(desk.artifacts, "toyville") == Pointer(champion=first)
    assert champion_of(desk.artifacts, "toyville").version == first


def test_a_forged_manifest_that_agrees_with_itself_is_not_the_one_that_was_registered(desk):
    (version,) = desk.make(1)
    desk.register(version)
    desk.promote(version)
    (path,) = stored(desk, "manifest.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"seed": 7}))
    with pytest.raises(RegistryError, match="was registered"):
        desk.sync()
    assert read_pointer(desk.artifacts, "toyville") is None


def test_a_challenger_that_is_spoilt_is_left_out_and_the_champion_comes_all_the_same(desk):
    first, second = desk.make(2)
    for version in (first, second):
        desk.register(version)
    desk.promote(first)
    desk.promote(second, "challenger")
    for path in stored(desk, "card.md"):
        if read_text_of_version(path, second):
            path.write_text("other")
    done = desk.sync()
    assert (done.pointer, done.fault is None) == (Pointer(champion=first), False)


def test_a_version_that_lacks_a_file_is_named_with_a_remedy(desk, tmp_path):
    (version,) = desk.make(1)
    desk.register(version)
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


def read_text_of_version(path, version):
    return json.loads((path.parent / "manifest.json").read_text())["version"] == version


def test_another_content_under_a_registered_version_is_refused(desk):
    (version,) = desk.make(1)
    desk.register(version)
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

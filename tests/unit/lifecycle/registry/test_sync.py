"""What is the same whichever registry is asked: refusals, and what `sync` brings into the job's folder and mends."""

import shutil

import pytest

from lifecycle.registry import FolderRegistry
from models.artifact import champion_of, read_artifact
from schemas.errors import ArtifactError, RegistryError
from schemas.records import Pointer, read_pointer, write_pointer
from tests.harness.registries import Desk
from tests.unit.lifecycle.registry.conftest import registered, stored


@pytest.fixture
def desk(tmp_path):
    return Desk("folder", tmp_path)


def test_a_refusal_says_which_role_stands_against_it(desk):
    first, second = registered(desk, 2)
    for version in (first, second):
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
    first, second = registered(desk, 2)
    desk.promote(first)
    desk.promote(second, "challenger")
    synced = desk.sync()
    assert (synced.copied, synced.is_pointer_new, synced.fault) == ((first, second), True, None)
    synced = desk.sync()
    assert (synced.copied, synced.is_pointer_new) == ((), False)


@pytest.mark.parametrize("spoil", ["damaged copy", "missing file", "damaged pointer", "link"])
def test_sync_mends_what_was_spoilt_in_the_jobs_folder(desk, spoil):
    (version,) = registered(desk, 1)
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


def test_sync_replaces_no_sound_artifact_of_another_content(desk):
    """It may be all that there is of it: a person decides."""
    (version,) = registered(desk, 1)
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
    first, second = registered(desk, 2)
    desk.promote(first)
    desk.sync()
    desk.promote(second)
    for path in stored(desk, name):
        path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ArtifactError):
        desk.sync()
    assert read_pointer(desk.artifacts, "toyville") == Pointer(champion=first)
    assert champion_of(desk.artifacts, "toyville").version == first


def test_a_sync_that_waited_for_another_one_writes_what_is_so_now(desk, monkeypatch):
    """Between its first look and its turn another process promotes, and brings that version."""
    first, second = registered(desk, 2)
    desk.promote(first)
    state, looks = FolderRegistry.state, []

    def look(registry, region):
        before = state(registry, region)
        looks.append(before)
        if len(looks) == 1:
            desk.promote(second)
            desk.sync()
        return before

    monkeypatch.setattr(FolderRegistry, "state", look)
    assert desk.sync().pointer == Pointer(champion=second)
    assert read_pointer(desk.artifacts, "toyville") == Pointer(champion=second)


@pytest.mark.parametrize("name", ["manifest.json", "weights.safetensors"])
def test_a_link_in_the_registry_is_not_followed_though_its_target_is_sound(desk, name):
    (version,) = registered(desk, 1)
    desk.promote(version)
    (path,) = stored(desk, name)
    path.rename(desk.folder / "elsewhere")
    path.symlink_to(desk.folder / "elsewhere")
    with pytest.raises(ArtifactError, match=f"{name} is missing or no regular file"):
        desk.sync()
    assert read_pointer(desk.artifacts, "toyville") is None
    assert not list(desk.artifacts.glob("*/2*"))


def test_a_version_of_another_region_is_not_brought_though_it_is_sound(desk):
    (version,) = registered(desk, 1)
    desk.promote(version)
    shutil.copytree(desk.copies / "toyville", desk.copies / "aston")
    with pytest.raises(RegistryError, match=f"version {version} is of region toyville, not aston"):
        desk.sync("aston")
    assert read_pointer(desk.artifacts, "aston") is None
    assert not list(desk.artifacts.glob("aston/2*"))

"""What every registry does, what `sync` brings and mends, and what MLflow shows.

Whoever adds a registry adds it to tests/harness/registries.py.
"""

import json
import shutil
import time
from contextlib import suppress

import pytest

from lifecycle.registry import FolderRegistry, manifest_digest, register
from lifecycle.version_commands import open_registry
from models.artifact import champion_of
from schemas.errors import ArtifactError, AuditError, RegistryError
from schemas.records import Pointer, RegionState, write_pointer
from streaming.rehearse.broker import free_port
from tests.harness.region_bench import empty_history
from tests.harness.registries import PAGE_FILES, desk_at, evaluation_folder
from tests.harness.toy import publish_artifact, toy_constants, toy_network, toy_spec


def test_what_is_registered_comes_back_byte_for_byte_and_has_no_role(any_desk, tmp_path):
    (version,) = any_desk.make(1)
    assert any_desk.open().regions() == []
    for _ in range(2):
        any_desk.register(version)
    digest = manifest_digest(any_desk.made_folder(version))
    assert any_desk.state() == RegionState(manifests={version: digest})
    assert any_desk.open().regions() == ["toyville"]
    assert any_desk.events() == [("model_registered", version)]
    shutil.copytree(any_desk.made_folder(version), tmp_path / "kept")
    shutil.rmtree(any_desk.made)
    (tmp_path / "back").mkdir()
    any_desk.open().fetch("toyville", version, tmp_path / "back")
    given, back = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("kept", "back"))
    assert back == given


def forge(manifest):
    """Another content that agrees with itself."""
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"seed": 7}))


def test_a_forged_manifest_that_agrees_with_itself_is_not_the_one_that_was_registered(any_desk):
    (version,) = any_desk.registered(1)
    any_desk.promote(version)
    forge(*any_desk.stored("manifest.json"))
    with pytest.raises(RegistryError, match="was registered"):
        any_desk.sync()
    assert any_desk.pointer() is None


def test_a_version_that_lacks_a_file_is_named_with_a_remedy(any_desk, tmp_path):
    (version,) = any_desk.registered(1)
    (path,) = any_desk.stored("baseline.npz")
    path.unlink()
    (tmp_path / "back").mkdir()
    with pytest.raises(RegistryError, match="cannot be copied") as caught:
        any_desk.open().fetch("toyville", version, tmp_path / "back")
    assert caught.value.remedy


def test_a_page_that_vanishes_while_it_is_registered_is_an_error_of_the_registry(any_desk, tmp_path):
    (version,) = any_desk.make(1)
    folder = any_desk.made_folder(version)
    with pytest.raises(RegistryError, match="cannot be written"):
        any_desk.open().add("toyville", folder, manifest_digest(folder), lambda: None, tmp_path / "gone")


@pytest.mark.parametrize("name", PAGE_FILES)
def test_a_link_in_the_folder_of_an_evaluation_is_not_followed(any_desk, tmp_path, name):
    (version,), judged = any_desk.make(1), evaluation_folder(tmp_path / "judged")
    (tmp_path / "secret").write_text("a password")
    (judged / name).unlink()
    (judged / name).symlink_to(tmp_path / "secret")
    with suppress(RegistryError):
        register(any_desk.open(), any_desk.made_folder(version), any_desk.note, judged)
    copies = [path.read_text(errors="ignore") for path in any_desk.copies.rglob("*") if path.is_file()]
    assert "a password" not in copies
    assert (version in any_desk.state().manifests) == name.endswith("png")


def test_another_content_under_a_registered_version_is_refused(any_desk):
    (version,) = any_desk.registered(1)
    forge(any_desk.made_folder(version) / "manifest.json")
    with pytest.raises(RegistryError, match="is registered with the manifest"):
        any_desk.register(version)
    assert len(any_desk.events()) == 1


def test_nothing_is_registered_that_is_damaged_and_nothing_changes_without_a_record(any_desk):
    first, second = any_desk.make(2)
    (any_desk.made_folder(second) / "weights.safetensors").write_bytes(b"")
    with pytest.raises(ArtifactError, match="weights"):
        any_desk.register(second)
    any_desk.audit.mkdir()
    with pytest.raises(AuditError, match="audit log"):
        any_desk.register(first)
    assert any_desk.state() == RegionState()
    any_desk.audit.rmdir()
    any_desk.register(first)
    before = any_desk.state()
    any_desk.audit.rename(any_desk.audit.with_name("away"))
    any_desk.audit.mkdir()
    with pytest.raises(AuditError, match="audit log"):
        any_desk.promote(first)
    assert any_desk.state() == before


def test_regions_do_not_touch_each_other_and_names_are_no_paths(any_desk):
    (version,), (other,) = any_desk.make(1), any_desk.make(1, "aston")
    any_desk.register(version)
    any_desk.register(other, "aston")
    any_desk.promote(other, region="aston")
    assert (any_desk.open().regions(), any_desk.state().champion) == (["aston", "toyville"], None)
    for name in ("../aston", "", ".", "Aston"):
        with pytest.raises(RegistryError, match="no region's name"):
            any_desk.state(name)


@pytest.mark.parametrize("spoil", ["missing file", "another pointer", "damaged pointer", "link"])
def test_sync_mends_what_was_spoilt_in_the_jobs_folder(desk, spoil):
    """What a damaged copy needs: test_any_order."""
    version = desk.scoring()
    place = desk.artifacts / "toyville" / version
    if spoil == "missing file":
        (place / "weights.safetensors").unlink()
    elif spoil == "link":
        shutil.rmtree(place)
        place.symlink_to(desk.made_folder(version))
    elif spoil == "another pointer":
        write_pointer(desk.artifacts, "toyville", Pointer(champion="20260101T000000Z-00000000"))
    else:
        (place.parent / "pointer.json").write_bytes(b"{")
    desk.sync()
    assert champion_of(desk.artifacts, "toyville").version == version
    assert not place.is_symlink()
    assert sorted(path.name for path in place.parent.iterdir()) == [".lock", version, "pointer.json"]


def test_sync_replaces_no_sound_artifact_of_another_content(desk):
    """It may be all that there is of it: a person decides."""
    version = desk.scoring()
    place = desk.artifacts / "toyville" / version
    forge(place / "manifest.json")
    changed = (place / "manifest.json").read_bytes()
    with pytest.raises(RegistryError, match="another artifact than the registered one") as caught:
        desk.sync()
    assert "move the folder away" in caught.value.remedy
    assert (place / "manifest.json").read_bytes() == changed
    place.rename(desk.folder / "away")
    assert desk.sync().copied == (version,)


def test_a_sync_that_waited_for_another_one_writes_what_is_so_now(desk, monkeypatch):
    """Between its first look and its turn another process promotes, and brings that version."""
    first, second = desk.registered(2)
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
    assert desk.pointer() == Pointer(champion=second)


@pytest.mark.parametrize("name", ["manifest.json", "weights.safetensors"])
def test_a_link_in_the_registry_is_not_followed_though_its_target_is_sound(desk, name):
    (version,) = desk.registered(1)
    desk.promote(version)
    (path,) = desk.stored(name)
    path.rename(desk.folder / "elsewhere")
    path.symlink_to(desk.folder / "elsewhere")
    with pytest.raises(ArtifactError, match=f"{name} is missing or no regular file"):
        desk.sync()
    assert desk.pointer() is None
    assert not list(desk.artifacts.glob("*/2*"))


def test_a_version_of_another_region_is_not_brought_though_it_is_sound(desk):
    (version,) = desk.registered(1)
    desk.promote(version)
    shutil.copytree(desk.copies / "toyville", desk.copies / "aston")
    with pytest.raises(RegistryError, match=f"version {version} is of region toyville, not aston"):
        desk.sync("aston")
    assert desk.pointer("aston") is None
    assert not list(desk.artifacts.glob("aston/2*"))


@pytest.fixture
def mlflow_desk(request, tmp_path, mlflow_template):
    return desk_at(request, "mlflow", tmp_path)


def test_mlflow_shows_a_version_with_its_figures_its_files_and_its_role(mlflow_desk):
    from mlflow import MlflowClient

    spec = toy_spec()
    parts = {"constants": toy_constants(spec), "network": toy_network(spec), "history": empty_history(spec, 0)}
    rows = [{"horizon": "1h", "network_log_score": 0.25, "verdict": "tie"}, {"horizon": "4h", "network_log_score": 0.5}]
    version = publish_artifact(mlflow_desk.made, spec=spec, evaluation=rows, **parts).name
    mlflow_desk.register(version)
    mlflow_desk.promote(version)
    client = MlflowClient(mlflow_desk.address)
    shown = client.get_model_version_by_alias("incident-risk-toyville", "champion")
    assert shown.tags["version"] == version
    model = client.get_logged_model(shown.source.removeprefix("models:/"))
    assert (model.name, str(model.status)) == (version, "READY")
    figures = {metric.key: metric.value for metric in model.metrics}
    assert figures == {"1h/network_log_score": 0.25, "4h/network_log_score": 0.5}
    files = {entry.path for entry in client.list_logged_model_artifacts(model.model_id)}
    assert files == {path.name for path in mlflow_desk.made_folder(version).iterdir()}


def test_the_page_of_an_evaluation_is_an_artifact_of_the_version(mlflow_desk, tmp_path):
    """Given at once or later; what is fetched is the artifact alone."""
    from mlflow import MlflowClient

    (version,) = mlflow_desk.make(1)
    page = evaluation_folder(tmp_path / "judged")
    mlflow_desk.register(version)
    register(mlflow_desk.open(), mlflow_desk.made_folder(version), mlflow_desk.note, page)
    client = MlflowClient(mlflow_desk.address)
    shown = client.get_model_version("incident-risk-toyville", "1")
    files = client.list_logged_model_artifacts(shown.source.removeprefix("models:/"), "evaluation")
    assert sorted(file.path for file in files) == [f"evaluation/{name}" for name in PAGE_FILES]
    assert [name for name, _ in mlflow_desk.events()] == ["model_registered"]
    mlflow_desk.promote(version)
    assert mlflow_desk.sync().copied == (version,)


def test_what_another_hand_wrote_into_mlflow_is_refused_and_not_followed(mlflow_desk):
    from mlflow import MlflowClient

    (version,) = mlflow_desk.registered(1)
    client = MlflowClient(mlflow_desk.address)
    foreign = client.create_model_version("incident-risk-toyville", source=str(mlflow_desk.made))
    assert list(mlflow_desk.state().manifests) == [version]
    client.set_registered_model_alias("incident-risk-toyville", "champion", foreign.version)
    with pytest.raises(RegistryError, match=r"cannot be used .*champion"):
        mlflow_desk.sync()
    client.set_registered_model_alias("incident-risk-toyville", "champion", "1")
    client.set_model_version_tag("incident-risk-toyville", "1", "version", "../../elsewhere")
    with pytest.raises(RegistryError, match="cannot be used"):
        mlflow_desk.sync()


def test_a_server_that_is_away_is_named_soon():
    begun_s = time.monotonic()
    with pytest.raises(RegistryError, match="check the address, that the server runs"):
        open_registry(f"mlflow:http://127.0.0.1:{free_port()}").regions()
    assert time.monotonic() - begun_s < 60

"""A kill at any step of a change leaves the state of before or of after, and a second try finishes it.

MLflow is killed before each call of its client: what a call does in the store is one transaction.
"""

import shutil

import pytest

from lifecycle.registry import manifest_digest, verified
from models.artifact import champion_of, read_artifact
from schemas.records import Pointer, RegionState, read_pointer
from tests.harness.killed_step import every_kill
from tests.harness.registries import desk_at
from tests.unit.lifecycle.registry.conftest import registered

CALLS = (
    "create_registered_model",
    "search_logged_models",
    "delete_logged_model",
    "create_run",
    "create_logged_model",
    "log_model_artifacts",
    "log_batch",
    "finalize_logged_model",
    "set_terminated",
    "create_model_version",
    "set_model_version_tag",
    "set_registered_model_tag",
    "set_registered_model_alias",
    "delete_registered_model_alias",
)


@pytest.fixture(params=["folder", pytest.param("mlflow", marks=pytest.mark.nightly)])
def desk(request, tmp_path):
    return desk_at(request, request.param, tmp_path)


@pytest.fixture
def kills(desk, tmp_path):
    """kills(action): resets all that the desk has to what it is now, before each kill, and yields after it."""

    def kills(action):
        where = {"below": desk.folder}
        if desk.kind == "mlflow":
            from mlflow import MlflowClient

            where["calls"] = tuple((MlflowClient, name) for name in CALLS)
        before = tmp_path / "kept"
        shutil.copytree(desk.folder, before)
        steps = []
        for step in every_kill(action, **where):
            steps.append(step)
            yield step
            shutil.rmtree(desk.folder)
            shutil.copytree(before, desk.folder)
        assert len(steps) > 3, "hardly a step was killed: does the count still work?"

    return kills


def check_whole(desk):
    """What the registry says is there, is there; the audit log is unbroken."""
    state = desk.state()
    assert {state.champion, state.challenger, *state.before, *state.retired} - {None} <= state.manifests.keys()
    for version, digest in state.manifests.items():
        place = desk.folder / "fetched" / version
        place.mkdir(parents=True)
        desk.open().fetch("toyville", version, place)
        verified(place, digest)
    shutil.rmtree(desk.folder / "fetched", ignore_errors=True)
    desk.events()
    return state


def check_no_half_folder(home):
    """Each folder with a version's name holds that version, whole."""
    for place in home.glob("[0-9]*"):
        read_artifact(place)


def leftovers(folder):
    return [path for path in folder.rglob("*") if path.name.startswith(".") and path.name != ".lock"]


def test_register(desk, kills):
    first, second = desk.make(2)
    desk.register(first)
    digests = {version: manifest_digest(desk.made_folder(version)) for version in (first, second)}
    before, after = RegionState(manifests={first: digests[first]}), RegionState(manifests=digests)
    counts = set()
    for _ in kills(lambda: desk.register(second)):
        state = check_whole(desk)
        assert state in (before, after)
        check_no_half_folder(desk.folder / "registry" / "toyville")
        counts.add(len(state.manifests))
        for _ in range(2):
            desk.register(second)
        assert check_whole(desk) == after
        assert not leftovers(desk.folder)
        if desk.kind == "mlflow":
            from mlflow import MlflowClient

            names = [model.name for model in MlflowClient().search_logged_models(["1"])]
            assert sorted(names) == [first, second]
            assert len(MlflowClient().search_model_versions()) == 2
    assert 1 in counts


@pytest.mark.parametrize("role", ["champion", "challenger"])
def test_promote(desk, kills, role):
    first, second, third = registered(desk, 3)
    desk.promote(first)
    desk.promote(second)
    desk.promote(third, "challenger")
    before = desk.state()
    version = third if role == "champion" else first
    for _ in kills(lambda: desk.promote(version, role)):
        killed = check_whole(desk)
        desk.promote(version, role)
        state = check_whole(desk)
        assert killed in (before, state)
        as_champion, as_challenger = (third, None, (first, second)), (second, first, (first,))
        expected = as_champion if role == "champion" else as_challenger
        assert (state.champion, state.challenger, state.before) == expected
        assert desk.events()[-1] == ("model_promoted", version)


def test_roll_back_and_retire(desk, kills):
    first, second, third = registered(desk, 3)
    for version in (first, second, third):
        desk.promote(version)
    desk.promote(first, "challenger")

    def both():
        desk.roll_back()
        desk.retire(first)

    for _ in kills(both):
        state = check_whole(desk)
        assert (state.champion, state.before) in ((third, (first, second)), (second, (first,)))
        assert (state.challenger, state.retired) in ((first, ()), (None, (first,)))
        if state.champion == third:
            desk.roll_back()
        desk.retire(first)
        state = check_whole(desk)
        assert (state.champion, state.before, state.retired) == (second, (first,), (first,))


def test_sync(desk, kills):
    first, second, third = registered(desk, 3)
    desk.promote(first)
    desk.sync()
    desk.promote(second)
    challenger = third if desk.kind == "folder" else None  # it comes as the champion does, and each kill is slow
    if challenger:
        desk.promote(challenger, "challenger")
    old, new = Pointer(champion=first), Pointer(champion=second, challenger=challenger)
    pointers = set()
    for _ in kills(desk.sync):
        pointer = read_pointer(desk.artifacts, "toyville")
        pointers.add(pointer)
        check_no_half_folder(desk.artifacts / "toyville")
        assert pointer in (old, new)
        assert champion_of(desk.artifacts, "toyville").version == pointer.champion
        desk.sync()
        desk.events()
        assert read_pointer(desk.artifacts, "toyville") == new
        assert champion_of(desk.artifacts, "toyville").version == second
        assert not leftovers(desk.artifacts)
        copied = sorted(path.name for path in (desk.artifacts / "toyville").iterdir() if path.is_dir())
        assert copied == [first, second, *([third] if challenger else [])]
    assert old in pointers

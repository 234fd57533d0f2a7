"""Changes in any order, by several processes at once, and killed at any step: none is lost, none is half done."""

import itertools
import os
import shutil

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from lifecycle.registry import manifest_digest, verified
from models.artifact import champion_of, read_artifact
from schemas.errors import RegistryError
from schemas.records import Pointer, RegionState
from tests.harness.killed_step import every_kill
from tests.harness.registries import ALL_KINDS, Desk, desk_at

VERSIONS = st.integers(0, 3)


class AnyOrder(RuleBasedStateMachine):
    """The model: who is registered, champion, challenger, champions before, retired, and what the pointer names."""

    def __init__(self, desk, names):
        super().__init__()
        self.desk, self.names = desk, names
        self.registered, self.retired, self.before = set(), set(), []
        self.champion = self.challenger = self.pointer = None
        self.noted = []

    def refused_if(self, is_refused, action):
        """Do it; it must be refused exactly when the model says so. Gives whether it was done."""
        if not is_refused:
            action()
            return True
        with pytest.raises(RegistryError):
            action()
        return False

    @rule(number=VERSIONS)
    def register(self, number):
        version = self.names[number]
        self.desk.register(version)
        self.noted += [] if version in self.registered else [("model_registered", version)]
        self.registered.add(version)

    @rule(number=VERSIONS)
    def promote(self, number):
        version = self.names[number]
        refused = version not in self.registered or version in self.retired
        if self.refused_if(refused, lambda: self.desk.promote(version)) and version != self.champion:
            self.before += [self.champion] if self.champion else []
            self.champion = version
            self.challenger = None if self.challenger == version else self.challenger
            self.noted.append(("model_promoted", version))

    @rule(number=VERSIONS)
    def try_beside(self, number):
        version = self.names[number]
        refused = version not in self.registered or version in self.retired or version == self.champion
        if self.refused_if(refused, lambda: self.desk.promote(version, "challenger")):
            self.noted += [] if version == self.challenger else [("model_promoted", version)]
            self.challenger = version

    @rule()
    def roll_back(self):
        before = list(self.before)
        while before and before[-1] in self.retired:
            before.pop()
        if self.refused_if(not before, self.desk.roll_back):
            self.champion = before.pop()
            self.noted.append(("model_rolled_back", self.champion))
            while before and before[-1] == self.champion:
                before.pop()
            self.before = before
            self.challenger = None if self.challenger == self.champion else self.challenger

    @rule(number=VERSIONS)
    def retire(self, number):
        version = self.names[number]
        refused = version not in self.registered or version == self.champion
        if self.refused_if(refused, lambda: self.desk.retire(version)):
            self.noted += [] if version in self.retired else [("model_retired", version)]
            self.retired.add(version)
            self.challenger = None if self.challenger == version else self.challenger

    @rule()
    def sync(self):
        if self.refused_if(self.champion is None, self.desk.sync):
            pointer = Pointer(champion=self.champion, challenger=self.challenger)
            self.noted += [] if pointer == self.pointer else [("pointer_written", self.champion)]
            self.pointer = pointer
            for version in {self.champion, self.challenger} - {None}:
                assert (self.desk.artifacts / "toyville" / version / "card.md").is_file()

    @precondition(lambda self: self.pointer)
    @rule(name=st.sampled_from(["manifest.json", "history.npz", "weights.safetensors"]))
    def spoil_the_jobs_copy(self, name):
        (self.desk.artifacts / "toyville" / self.pointer.champion / name).write_bytes(b"spoilt")
        if self.champion:
            self.sync()

    @invariant()
    def all_is_as_in_the_model(self):
        state = self.desk.state()
        assert set(state.manifests) == self.registered
        assert (state.champion, state.challenger) == (self.champion, self.challenger)
        assert (list(state.before), set(state.retired)) == (self.before, self.retired)
        assert self.desk.pointer() == self.pointer

    def teardown(self):
        assert self.desk.events() == self.noted
        if self.pointer and self.pointer.champion == self.champion:
            assert champion_of(self.desk.artifacts, "toyville").version == self.champion


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_any_order(kind, tmp_path, request, mlflow_template):
    maker = Desk("folder", tmp_path)
    names, numbers = maker.make(4), itertools.count()

    def begin():
        place = tmp_path / str(next(numbers))
        place.mkdir()
        desk = desk_at(request, kind, place)
        desk.made = maker.made
        return AnyOrder(desk, names)

    examples, steps = {"folder": (20, 20), "mlflow": (6, 15), "server": (3, 15)}[kind]
    run_state_machine_as_test(begin, settings=settings(max_examples=examples, stateful_step_count=steps, deadline=None))


PROCESSES = 5


def at_once(*actions):
    """Each action in a child of its own."""
    reading, writing = os.pipe()
    children = []
    for action in actions:
        child = os.fork()
        if child == 0:
            os.close(writing)
            os.read(reading, 1)  # all begin when the pipe is closed
            code = 1
            try:
                action()
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    os.close(writing)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    os.close(reading)
    assert codes == [0] * len(actions)


def test_of_changes_at_the_same_moment_none_is_lost(tmp_path):
    desk = Desk("folder", tmp_path)
    versions = desk.make(PROCESSES)

    def change(version):
        desk.register(version)
        desk.promote(version)
        desk.sync()

    for _ in range(2):  # the second time over those that are there
        at_once(*[lambda version=version: change(version) for version in versions])
    state = desk.state()
    assert sorted(state.manifests) == versions
    assert {*state.before, state.champion} == set(versions)
    promoted = [version for event, version in desk.events() if event == "model_promoted"]
    assert [*state.before, state.champion] == promoted
    assert [event for event, _ in desk.events()].count("model_registered") == PROCESSES
    desk.sync()
    assert desk.pointer().champion == state.champion
    assert champion_of(desk.artifacts, "toyville").version == state.champion


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
    first, second, third = desk.registered(3)
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
        expected = {"champion": (third, None, (first, second)), "challenger": (second, first, (first,))}
        assert (state.champion, state.challenger, state.before) == expected[role]
        assert desk.events()[-1] == ("model_promoted", version)


def test_roll_back_and_retire(desk, kills):
    first, second, third = desk.registered(3)
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
    first, second, third = desk.registered(3)
    desk.promote(first)
    desk.sync()
    desk.promote(second)
    challenger = third if desk.kind == "folder" else None  # it comes as the champion does, and each kill is slow
    if challenger:
        desk.promote(challenger, "challenger")
    old, new = Pointer(champion=first), Pointer(champion=second, challenger=challenger)
    pointers = set()
    for _ in kills(desk.sync):
        pointer = desk.pointer()
        pointers.add(pointer)
        check_no_half_folder(desk.artifacts / "toyville")
        assert pointer in (old, new)
        assert champion_of(desk.artifacts, "toyville").version == pointer.champion
        desk.sync()
        desk.events()
        assert desk.pointer() == new
        assert champion_of(desk.artifacts, "toyville").version == second
        assert not leftovers(desk.artifacts)
        copied = sorted(path.name for path in (desk.artifacts / "toyville").iterdir() if path.is_dir())
        assert copied == [first, second, *([third] if challenger else [])]
    assert old in pointers

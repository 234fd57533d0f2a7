"""Register, promote, roll back, retire and sync in any order: every registry does as a model of twenty lines does."""

import itertools

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from models.artifact import champion_of
from schemas.errors import RegistryError
from schemas.records import Pointer, read_pointer
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
        assert read_pointer(self.desk.artifacts, "toyville") == self.pointer

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

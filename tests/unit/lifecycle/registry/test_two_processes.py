"""Several processes change one region of a folder at the same moment: no change is lost, none is done twice."""

import os

from models.artifact import champion_of
from schemas.records import read_pointer
from tests.harness.registries import Desk

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
    assert read_pointer(desk.artifacts, "toyville").champion == state.champion
    assert champion_of(desk.artifacts, "toyville").version == state.champion

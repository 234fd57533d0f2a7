import shutil
import time

import pytest

from streaming.settings import Settings
from tests.harness.forged_artifact import NOW, SPEC
from tests.harness.made_examples import one_penalty
from tests.harness.toy import toy_artifact


@pytest.fixture
def settings(tmp_path):
    """Of a job that has its folders to itself; its checkpoint is new."""
    (tmp_path / "checkpoint").mkdir()
    folders = {"checkpoint": "checkpoint", "artifacts": "artifacts", "audit": "audit.jsonl"}
    return Settings(**{name: tmp_path / place for name, place in folders.items()})


@pytest.fixture(scope="module")
def quick_training():
    """What is trained in the module tries one penalty."""
    with one_penalty():
        yield


@pytest.fixture
def far_from_utc(monkeypatch):
    """A machine whose own zone is not UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Pacific/Honolulu")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture(scope="module")
def sound_artifact(tmp_path_factory):
    """The folder of one, for tests that only read it."""
    folder = tmp_path_factory.mktemp("artifacts")
    return toy_artifact(folder, SPEC, cutoff_s=NOW)


@pytest.fixture
def artifact_copy(sound_artifact, tmp_path):
    """A folder to do harm to."""
    return shutil.copytree(sound_artifact, tmp_path / SPEC.region / sound_artifact.name)

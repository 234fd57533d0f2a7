import shutil

import pytest
from hypothesis import settings

from models.artifact.untrained import write_untrained
from tests.harness.forged_artifact import NOW, SPEC

settings.register_profile("unit", max_examples=25, deadline=None)
settings.load_profile("unit")


@pytest.fixture(scope="module")
def sound_artifact(tmp_path_factory):
    """The folder of one, for tests that only read it."""
    folder = tmp_path_factory.mktemp("artifacts")
    return write_untrained(folder, SPEC, per_day=5, cutoff_s=NOW, created="20260101T000000Z")


@pytest.fixture
def artifact_copy(sound_artifact, tmp_path):
    """A folder to do harm to."""
    return shutil.copytree(sound_artifact, tmp_path / SPEC.region / sound_artifact.name)

import shutil

import pytest

from tests.harness.forged_artifact import NOW, SPEC
from tests.harness.toy import toy_artifact


@pytest.fixture(scope="module")
def sound_artifact(tmp_path_factory):
    """The folder of one, for tests that only read it."""
    folder = tmp_path_factory.mktemp("artifacts")
    return toy_artifact(folder, SPEC, cutoff_s=NOW)


@pytest.fixture
def artifact_copy(sound_artifact, tmp_path):
    """A folder to do harm to."""
    return shutil.copytree(sound_artifact, tmp_path / SPEC.region / sound_artifact.name)

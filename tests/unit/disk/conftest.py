import pytest

from streaming.settings import Settings
from tests.harness.checkpoint import commit, verify


@pytest.fixture
def settings(tmp_path):
    return Settings(checkpoint=tmp_path / "checkpoint", shuffle_partitions=2, audit=tmp_path / "audit.jsonl")


@pytest.fixture
def used(settings):
    """A checkpoint after ten batches."""
    verify(settings)
    commit(settings.checkpoint, 9, {"0": 100, "1": 40})
    commit(settings.checkpoint, 10, {"0": 120, "1": 40})
    return settings

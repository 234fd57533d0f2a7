"""Artifacts of a toy region, published one a day."""

import pytest

from tests.harness.toy import toy_artifact, toy_spec

CUTOFF_S = 1_767_225_600


@pytest.fixture
def publish(tmp_path):
    """publish(day, region, field of the spec=...): its folder. The artifact of the last day is the newest."""

    def publish(day, region="toyville", *, cutoff_s=CUTOFF_S, **changes):
        spec = toy_spec(region=region, **changes)
        return toy_artifact(tmp_path / "artifacts", spec, cutoff_s=cutoff_s, created=f"202601{day:02d}T000000Z")

    return publish

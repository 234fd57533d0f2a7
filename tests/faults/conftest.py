import pytest

from streaming.roster.roster import load_artifact
from tests.faults.run import broker_to_break
from tests.harness.region import make_region


@pytest.fixture(scope="module")
def shared_broker(tmp_path_factory, jar_cache, formatted, commands):
    """One that can be stopped, killed and frozen, behind a proxy."""
    with broker_to_break(formatted(tmp_path_factory.mktemp("faults") / "broker"), jar_cache, commands) as broker:
        yield broker


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    return load_artifact(str(make_region("riverton").publish(tmp_path_factory.mktemp("artifact"))))

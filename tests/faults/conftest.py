from contextlib import ExitStack

import pytest

from streaming.artifacts_in_force import load_artifact
from tests.faults.run import broker_to_break
from tests.faults.stores import Sent
from tests.harness.region import make_region


@pytest.fixture(scope="module")
def shared_broker(tmp_path_factory, jar_cache, formatted, commands):
    """One that can be stopped, killed and frozen, behind a proxy."""
    with broker_to_break(formatted(tmp_path_factory.mktemp("faults") / "broker"), jar_cache, commands) as broker:
        yield broker


@pytest.fixture(scope="module")
def artifact(tmp_path_factory):
    return load_artifact(str(make_region("riverton").publish(tmp_path_factory.mktemp("artifact"))))


@pytest.fixture
def job(request, new_topic, new_scorer, new_region):
    """job(**settings): a scorer with one region that is not started, and what is sent to it."""
    with ExitStack() as stack:

        def make(**settings):
            name = request.node.name.removeprefix("test_").replace("_", "-")[:60]
            scorer = new_scorer(name, new_topic(name, partitions=2), **settings)
            region = new_region("riverton")
            region.publish(scorer.artifacts)
            sent = Sent(scorer)
            stack.enter_context(sent.witness)
            return scorer, region, sent

        yield make

"""A broker, topics, regions and scorers for the tests that start the whole job; stores, real ones and others."""

import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.local_store import BINARIES, local_store
from streaming.kafka import KafkaConnection, ensure_topics
from streaming.rehearse.broker import Broker, start_broker
from streaming.settings import Settings
from tests.faults.stores import Sent
from tests.harness.fake_stores import object_store, stubbed_store
from tests.harness.fork_server import ForkServer
from tests.harness.influxql import Store
from tests.harness.region import make_region
from tests.harness.scorer import Topic, make_scorer


@pytest.fixture(scope="session")
def commands(tmp_path_factory) -> ForkServer:
    """commands.run("incident_risk", WORDS): `risk WORDS` to its end, without Java; commands.popen(...)."""
    server = ForkServer(tmp_path_factory.mktemp("commands"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def formatted(broker):
    """formatted(folder): the folder as Kafka's tool formats it before the first start, without a Java for it."""

    def copy(folder: Path) -> Path:
        (folder / "data").mkdir(parents=True)
        for name in ("meta.properties", "bootstrap.checkpoint"):
            shutil.copy(broker.folder / "data" / name, folder / "data")
        return folder

    return copy


@pytest.fixture(scope="session")
def jar_cache() -> Path:
    """Where the broker's jars are, or go: the same place as for the commands, so that they are fetched once."""
    if shutil.which("java") is None:
        pytest.skip("the broker needs Java 17 (Debian: openjdk-17-jre-headless)")
    return Settings.from_environment({key: os.environ[key] for key in ("RISK_CACHE",) if key in os.environ}).cache


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory, jar_cache: Path) -> Broker:
    """A real Kafka broker for the whole run: make topics of your own on it."""
    with start_broker(tmp_path_factory.mktemp("broker"), cache=jar_cache, port=0) as broker:
        yield broker


@pytest.fixture(scope="module")
def new_topic(broker) -> Callable[..., Topic]:
    """new_topic(name, partitions=): an empty topic."""

    def make(name: str, *, partitions: int = 1) -> Topic:
        ensure_topics(KafkaConnection(broker.bootstrap), {name: partitions})
        return Topic(broker.bootstrap, name, partitions)

    return make


@pytest.fixture(scope="module")
def new_scorer(broker, commands, jar_cache, new_topic, tmp_path_factory):
    """new_scorer(name, topic, **settings): a scorer that is not started, on the clock of the events, into a file."""
    made = []

    def make(name, topic, **settings):
        dead_letters = new_topic(f"{topic.name}.{name}.dlq")
        folder = tmp_path_factory.mktemp(name)
        made.append(make_scorer(folder, topic, dead_letters, commands=commands, RISK_CACHE=str(jar_cache), **settings))
        return made[-1]

    yield make
    for scorer in made:
        scorer.clean_up()


@pytest.fixture
def job(request, new_topic, new_scorer):
    """job(**settings): a scorer with one region that is not started, the region, and what is sent to it."""
    with ExitStack() as stack:

        def make(**settings):
            name = request.node.name.removeprefix("test_").replace("_", "-")[:60]
            scorer, region = new_scorer(name, new_topic(name, partitions=2), **settings), make_region("riverton")
            region.publish(scorer.artifacts)
            sent = Sent(scorer)
            stack.enter_context(sent.witness)
            return scorer, region, sent

        yield make


@pytest.fixture(scope="session")
def new_region():
    """new_region(name, south_deg=, categories=)."""
    return make_region


@pytest.fixture(scope="session")
def influxdb(tmp_path_factory):
    if shutil.which(BINARIES["influxdb"]) is None:
        pytest.skip("influxd is not installed: apt-get install influxdb")
    with local_store("influxdb", tmp_path_factory.mktemp("influxdb")) as url:
        yield Store(url=url)


@pytest.fixture
def stub_store():
    with stubbed_store() as store:
        yield store


@pytest.fixture
def stub_store_over_tls():
    """Gives `with stub_store_over_tls(context) as store`."""
    return stubbed_store


@pytest.fixture(scope="session")
def s3(tmp_path_factory):
    with object_store(tmp_path_factory.mktemp("moto")) as store:
        yield store

"""A broker that is away while dead letters are due: they wait, and the job does not end for it before its time."""

import gc
import json
import threading
import time
from dataclasses import dataclass, replace

import pytest
from kafka import KafkaAdminClient

from schemas.errors import BrokerError, BrokerUnavailable
from schemas.incidents import Rejection
from streaming.rehearse.broker import start_broker
from streaming.settings import Settings
from streaming.topics.dead_letters import DeadLetters
from streaming.topics.kafka import KafkaConnection, ensure_topics

pytestmark = [
    # kafka-python leaves the sockets of refused connections to the garbage collector
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(autouse=True)
def collected():
    """What a test leaves to the garbage collector is collected while its filter of warnings holds."""
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + 30
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.1)  # a producer that was closed before its time ends its threads a little later
    gc.collect()


@dataclass
class Clock:
    s: float = 1000.0

    def __call__(self):
        return self.s


def refused(offset):
    return {"riverton": [Rejection("schema", "", 0, offset, 1_700_000_000_000, b"{}")]}


def test_letters_that_a_broker_did_not_take_are_taken_when_it_is_back(new_topic, jar_cache, tmp_path, formatted):
    clock = Clock()
    with start_broker(formatted(tmp_path / "broker"), cache=jar_cache, port=0) as broker:
        ensure_topics(KafkaConnection(broker.bootstrap), {"events": 1, "letters": 1})
        port = int(broker.bootstrap.rpartition(":")[2])
        settings = Settings(
            kafka_bootstrap=broker.bootstrap,
            topic="events",
            dead_letter_topic="letters",
            write_timeout_s=4,
            kafka_timeout_s=60,
            checkpoint=tmp_path,
        )
        letters = DeadLetters.of(settings, clock)
        letters.write(refused(1))
        broker.stop()
        for seconds in (0, 59):
            clock.s = 1000.0 + seconds
            with pytest.raises(BrokerUnavailable, match="did not store 1 dead letters in topic letters"):
                letters.write(refused(2))
        clock.s += 1
        with pytest.raises(BrokerError) as ended:
            letters.write(refused(2))
        assert not isinstance(ended.value, BrokerUnavailable), "it would be tried for ever"
    with start_broker(tmp_path / "broker", cache=jar_cache, port=port) as broker:
        letters.write(refused(2))
        letters.write(refused(3))
        written = replace(new_topic("not_this"), bootstrap=broker.bootstrap, name="letters").read()
        assert [json.loads(value)["source_offset"] for value in written] == [1, 2, 3]
        broker.stop()
        clock.s += 1000
        with pytest.raises(BrokerUnavailable):  # the broker was there in between: its time begins anew
            letters.write(refused(4))
        letters.close()


def test_a_topic_that_is_gone_is_named(jar_cache, tmp_path, new_topic):
    topic = new_topic("letters_gone")
    settings = Settings(
        kafka_bootstrap=topic.bootstrap, dead_letter_topic="no.such.topic", write_timeout_s=2, checkpoint=tmp_path
    )
    with pytest.raises(BrokerError, match=r"topic no\.such\.topic .* create the topic"):
        DeadLetters.of(settings).write(refused(1))
    with KafkaAdminClient(bootstrap_servers=topic.bootstrap) as admin:
        assert "no.such.topic" not in admin.list_topics()

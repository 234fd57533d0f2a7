import pytest
from kafka.errors import KafkaTimeoutError

from schemas.errors import BrokerError
from streaming.rehearse.incident_replay import BAD, DUPLICATE, INCIDENT, Message, send_messages

PLANNED = [
    Message(key=b"a", value=b"1", send_ms=1_000, kind=INCIDENT),
    Message(key=b"bad", value=None, send_ms=2_000, kind=BAD),
    Message(key=b"a", value=b"1", send_ms=3_000, kind=DUPLICATE),
]


class FakeFuture:
    def __init__(self, error):
        self.error = error

    def add_errback(self, report):
        if self.error is not None:
            report(self.error)


class FakeProducer:
    def __init__(self, errors=()):
        self.sent = []
        self.flushed = False
        self.errors = iter(errors)

    def send(self, topic, *, key, value, timestamp_ms):
        self.sent.append((topic, key, value, timestamp_ms))
        return FakeFuture(next(self.errors, None))

    def flush(self, timeout):
        self.flushed = True


def test_everything_is_sent_with_its_time_and_counted_by_kind():
    producer, seen = FakeProducer(), []
    counts = send_messages(PLANNED, producer, topic="incidents.v1", on_sent=seen.append)
    assert producer.sent == [("incidents.v1", message.key, message.value, message.send_ms) for message in PLANNED]
    assert seen == PLANNED
    assert counts == {"incidents": 1, "duplicates": 1, "corrections": 0, "bad": 1}
    assert producer.flushed


def test_one_message_that_kafka_refuses_ends_the_replay():
    producer = FakeProducer(errors=[None, KafkaTimeoutError("no leader")])
    with pytest.raises(BrokerError, match=r"incidents\.v1.*no leader.*check"):
        send_messages(PLANNED, producer, topic="incidents.v1", on_sent=lambda _: None)
    assert len(producer.sent) == 2

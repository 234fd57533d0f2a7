"""Marks and Kafka's promises, with clients that keep them or do not: what is sent is stored, what is read is kept."""

from threading import Event

import pytest

from schemas.decode import decode_feedback
from streaming import marks as store
from streaming.topics.kafka import KafkaConnection
from tests.unit.feedback.test_marks import GOOD, Record, encoded

KAFKA = KafkaConnection("nowhere:9092")


class Producer:
    """It stores a message only for one who waits for every replica: the others' leader fails before it is copied."""

    stored = ()

    def __init__(self, *, acks=1, **_):
        self.acks = acks

    def send(self, _topic, *, key, value):
        if self.acks in ("all", -1):
            Producer.stored = (*Producer.stored, (key, value))
        return self

    def get(self, timeout):
        return None

    def close(self, timeout):
        pass


def test_a_mark_is_sent_when_every_replica_has_it(monkeypatch):
    monkeypatch.setattr("streaming.topics.kafka.KafkaProducer", Producer)
    monkeypatch.setattr(store, "topic_faults", lambda *_: {})
    mark = decode_feedback(encoded())
    store.send_mark(mark, KAFKA, "feedback.v1")
    ((key, value),) = Producer.stored
    assert (key.decode(), decode_feedback(value)) == (GOOD["cell"], mark)


class Consumer:
    """A group's consumer of a topic of three marks. `position` is Kafka's, which survives the process."""

    position = None

    def __init__(self, _topic, *, auto_offset_reset="latest", enable_auto_commit=True, **_):
        self.commits_alone = enable_auto_commit
        first = 0 if auto_offset_reset == "earliest" else 3
        self.next = first if Consumer.position is None else Consumer.position

    def poll(self, timeout_ms):
        records = [Record(encoded(), 0, offset, 0) for offset in range(self.next, 3)]
        self.next = 3
        if self.commits_alone:
            self.commit()
        return {"partition": records} if records else {}

    def commit(self):
        Consumer.position = self.next

    def assignment(self):
        return ["partition"]

    def close(self, autocommit):
        pass


class Kept:
    """The store's side; it fails as often as it is told to."""

    def __init__(self, failures):
        self.failures, self.records = failures, []

    def keep(self, records):
        if self.failures:
            self.failures -= 1
            raise ConnectionError
        self.records += records
        return len(records), 0


def test_marks_of_before_the_first_start_are_kept_and_a_failure_of_the_store_loses_none(monkeypatch):
    monkeypatch.setattr(store, "KafkaConsumer", Consumer)
    monkeypatch.setattr(store, "refuse_unreachable", lambda *_: None)
    monkeypatch.setattr(store, "_is_at_end", lambda consumer: consumer.next == 3)
    monkeypatch.setattr(Consumer, "position", None)
    kept = Kept(failures=1)
    with pytest.raises(ConnectionError):
        store.keep_feedback(KAFKA, "feedback.v1", kept, stop=Event(), follow=False)
    assert store.keep_feedback(KAFKA, "feedback.v1", kept, stop=Event(), follow=False) == (3, 0)
    assert [record.offset for record in kept.records] == [0, 1, 2]
    assert store.keep_feedback(KAFKA, "feedback.v1", kept, stop=Event(), follow=False) == (0, 0)

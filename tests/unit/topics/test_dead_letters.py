"""A batch that is refused as a whole: its dead letters are sent and acknowledged a slice at a time."""

import json
import tracemalloc

import pytest
from kafka.errors import KafkaTimeoutError, MessageSizeTooLargeError

import streaming.kafka
from schemas.errors import BrokerError, BrokerUnavailable
from schemas.incidents import Rejection, pack_rejections, unpack_rejections
from streaming.kafka import LETTERS_AT_ONCE, DeadLetters
from streaming.settings import Settings

AT_ONCE = 200
LETTERS = 2 * AT_ONCE + 50


class Acknowledged:
    """What `send` gives: it answers once the broker has the letter."""

    def __init__(self):
        self.error = KafkaTimeoutError("not flushed")

    def get(self):
        if self.error is not None:
            raise self.error


class Broker:
    """A producer and its broker. `fails`: by number of the flush, what its letters end with."""

    def __init__(self):
        self.letters, self.waiting, self.most_waiting, self.flushes, self.fails = [], [], 0, 0, {}
        self.made, self.asked = 0, []

    def __call__(self, **options):
        self.made, self.options = self.made + 1, options
        return self

    @property
    def taken(self):
        return [letter["source_offset"] for _, letter in self.letters]

    def send(self, topic, value):
        future = Acknowledged()
        self.waiting.append((topic, value, future))
        self.most_waiting = max(self.most_waiting, len(self.waiting))
        return future

    def flush(self, timeout):
        self.flushes, self.patience_s = self.flushes + 1, timeout
        for topic, value, future in self.waiting:
            future.error = self.fails.get(self.flushes)
            if future.error is None:
                self.letters.append((topic, json.loads(value)))
        self.waiting = []

    def close(self, timeout):
        self.waiting = []
        raise KafkaTimeoutError("still away")


@pytest.fixture
def broker(monkeypatch):
    broker = Broker()
    assert LETTERS_AT_ONCE <= 20_000
    monkeypatch.setattr(streaming.kafka, "LETTERS_AT_ONCE", AT_ONCE)
    monkeypatch.setattr("streaming.kafka.KafkaProducer", broker)
    monkeypatch.setattr(streaming.kafka, "refuse_unreachable", broker.asked.append)
    return broker


def rejections(count):
    return [Rejection("not_json", "no JSON", 0, offset, 1_700_000_000_000, None) for offset in range(count)]


def test_no_more_than_a_slice_waits_for_its_acknowledgement_and_the_order_stays(broker, tmp_path):
    drawn = []

    def one_by_one():
        for rejection in rejections(LETTERS):
            assert len(drawn) - len(broker.taken) < AT_ONCE
            drawn.append(rejection)
            yield rejection

    DeadLetters(Settings(checkpoint=tmp_path)).write({"": one_by_one()})
    assert broker.most_waiting == AT_ONCE
    assert broker.taken == list(range(LETTERS))


def test_a_slice_has_the_time_of_a_write_until_all_replicas_have_it_and_every_batch_its_last_letters(broker, tmp_path):
    letters = DeadLetters(Settings(checkpoint=tmp_path, write_timeout_s=7))
    letters.write({"riverton": rejections(3), "": rejections(2)})
    letters.write({})
    assert broker.options["acks"] in ("all", -1)  # with fewer replicas, a broker that dies takes letters with it
    assert broker.options["delivery_timeout_ms"] == 7000
    assert broker.patience_s > 7
    assert 0 < broker.options["linger_ms"] < 50  # some letters go together
    assert (broker.taken, broker.flushes) == ([0, 1, 2, 0, 1], 1)


def test_a_letter_names_the_topic_and_the_region_of_its_message(broker, tmp_path):
    topics = {"dead_letter_topic": "dlq", "topic": "incidents"}
    letters = DeadLetters(Settings(checkpoint=tmp_path, kafka_bootstrap="kafka:9092", **topics))
    letters.close()  # nothing is open yet
    letters.write({"riverton": rejections(1), "": rejections(1)})
    letters.close()
    assert [(topic, letter["source_topic"], letter["region"]) for topic, letter in broker.letters] == [
        ("dlq", "incidents", "riverton"),
        ("dlq", "incidents", None),
    ]
    assert (broker.made, broker.asked) == (1, ["kafka:9092"])


@pytest.mark.parametrize(
    ("error", "kind"), [(KafkaTimeoutError("away"), BrokerUnavailable), (MessageSizeTooLargeError("big"), BrokerError)]
)
def test_what_fails_in_the_middle_fails_the_batch_and_nothing_more_is_sent(error, kind, broker, tmp_path):
    broker.fails[2] = error
    letters = DeadLetters(Settings(checkpoint=tmp_path))
    said = rf"did not store {AT_ONCE} dead letters in topic incidents.v1.dlq \({type(error).__name__}\)"
    with pytest.raises(kind, match=said) as raised:
        letters.write({"": rejections(LETTERS)})
    assert type(raised.value) is kind
    assert broker.taken == list(range(AT_ONCE))
    letters.write({"": rejections(LETTERS)})
    assert (broker.taken[AT_ONCE:], broker.made) == (list(range(LETTERS)), 2)


def test_a_kafka_that_takes_only_the_first_slice_of_each_try_is_given_up(broker, tmp_path):
    now_s = [1000.0]
    broker.fails = dict.fromkeys((2, 4), KafkaTimeoutError("away"))
    letters = DeadLetters(Settings(checkpoint=tmp_path, kafka_timeout_s=60), lambda: now_s[0])
    with pytest.raises(BrokerUnavailable):
        letters.write({"": rejections(LETTERS)})
    now_s[0] += 60
    with pytest.raises(BrokerError) as ended:
        letters.write({"": rejections(LETTERS)})
    assert not isinstance(ended.value, BrokerUnavailable)


def test_rejections_are_unpacked_without_having_all_of_them_at_once():
    packed = pack_rejections(rejections(40_000))
    tracemalloc.start()
    count = sum(1 for _ in unpack_rejections(packed))
    (_, one_by_one), _ = tracemalloc.get_traced_memory(), tracemalloc.reset_peak()
    everything = len(list(unpack_rejections(packed)))
    _, at_once = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == everything == 40_000
    assert one_by_one < at_once / 3

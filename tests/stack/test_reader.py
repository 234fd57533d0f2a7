"""Spans of a topic that is larger than what may wait in memory are read again, whole, from a real broker."""

from contextlib import closing

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from streaming.topics import reader
from streaming.topics.kafka import KafkaConnection
from streaming.topics.reader import TopicReader

MESSAGES, PARTITIONS, SPANS, AHEAD, POLLED = 24_000, 4, 12, 1_000, 1_000


def test_partitions_that_were_read_ahead_are_read_on(new_topic, broker, monkeypatch):
    """A fetch of compressed messages brings more than may wait; the partitions end one after the other."""
    monkeypatch.setattr(reader, "_AHEAD", AHEAD)
    polled = {"max_poll_records": POLLED}
    monkeypatch.setattr(reader, "KafkaConsumer", lambda **options: KafkaConsumer(**options | polled))
    topic = new_topic("reader", partitions=PARTITIONS)
    servers = {"bootstrap_servers": broker.bootstrap}
    producer = KafkaProducer(**servers, linger_ms=50, batch_size=1 << 18, compression_type="gzip")
    for number in range(MESSAGES):
        producer.send(topic.name, f"{number}".encode().ljust(190))
    producer.close()
    with closing(KafkaConsumer(**servers)) as consumer:
        found = consumer.end_offsets([TopicPartition(topic.name, number) for number in range(PARTITIONS)])
    ends = {place.partition: end for place, end in found.items()}
    assert sum(ends.values()) == MESSAGES

    seen = {partition: [] for partition in ends}
    numbers = set()
    whole = {partition: (0, end) for partition, end in ends.items()}
    with closing(TopicReader(KafkaConnection(broker.bootstrap), topic.name, whole)) as opened:
        for step in range(SPANS):
            span = {partition: (end * step // SPANS, end * (step + 1) // SPANS) for partition, end in ends.items()}
            for messages in opened.read(span):
                numbers.update(map(int, messages.values))
                for partition, offset in zip(messages.partition, messages.kafka_offset, strict=True):
                    seen[int(partition)].append(int(offset))
            assert max(map(len, opened._waiting.values())) <= AHEAD + POLLED
    assert seen == {partition: list(range(end)) for partition, end in ends.items()}
    assert numbers == set(range(MESSAGES))

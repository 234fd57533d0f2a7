import time
from dataclasses import dataclass, field

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition

from streaming.kafka import KafkaConnection, ensure_topics

DEADLINE_S = 240.0


@dataclass
class Topic:
    """A topic of the test's own, on the real broker."""

    bootstrap: str
    name: str
    partitions: int
    client: dict = field(default_factory=dict)  # more options of kafka-python

    def send(self, messages):
        """Send (partition, value, time_ms) in order; gives each one's (partition, offset)."""
        options = {"bootstrap_servers": self.bootstrap, "linger_ms": 20, "max_request_size": 1 << 20, **self.client}
        with KafkaProducer(**options) as producer:
            sent = [
                producer.send(self.name, key=b"k", value=value, partition=partition, timestamp_ms=time_ms)
                for partition, value, time_ms in messages
            ]
            producer.flush(timeout=60)
            return [(record.partition, record.offset) for record in (future.get(timeout=10) for future in sent)]

    def read(self):
        """Every message's value, up to the topic's end now."""
        return [record.value for record in self.records()]

    def records(self):
        """Every message, in each partition's order."""
        places = [TopicPartition(self.name, number) for number in range(self.partitions)]
        found = []
        options = {"bootstrap_servers": self.bootstrap, "auto_offset_reset": "earliest", **self.client}
        with KafkaConsumer(**options) as consumer:
            ends = consumer.end_offsets(places)
            consumer.assign(places)
            consumer.seek_to_beginning(*places)
            deadline = time.monotonic() + DEADLINE_S
            while any(consumer.position(place) < ends[place] for place in places):
                assert time.monotonic() < deadline, "the topic cannot be read to its end"
                found += [record for records in consumer.poll(timeout_ms=200).values() for record in records]
        return found


def make_anew(topic):
    """Delete the topic and create another one of its name."""
    with KafkaAdminClient(bootstrap_servers=topic.bootstrap) as admin:
        admin.delete_topics([topic.name])
        deadline = time.monotonic() + 60
        while topic.name in admin.list_topics():
            assert time.monotonic() < deadline, "Kafka does not delete the topic"
            time.sleep(0.2)
    ensure_topics(KafkaConnection(topic.bootstrap), {topic.name: topic.partitions})


def delete_up_to(topic, offset):
    """Delete what stands before the offset of partition 0."""
    with KafkaAdminClient(bootstrap_servers=topic.bootstrap) as admin:
        admin.delete_records({TopicPartition(topic.name, 0): offset})

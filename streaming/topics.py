"""Topics: which there are, and making those that are missing."""

import contextlib
import socket
from collections.abc import Mapping
from dataclasses import dataclass

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, TopicAlreadyExistsError

from schemas.errors import BrokerError

_TIMEOUT_MS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A topic as Kafka holds it. `id` stays the same until it is deleted (KIP-516)."""

    id: str
    first_offsets: Mapping[int, int]  # by partition: the oldest message that is still there


def ensure_topics(bootstrap: str, topics: Mapping[str, int]) -> None:
    """Create each topic that is missing, with that many partitions; leave the others as they are."""
    refuse_unreachable(bootstrap)
    try:
        with KafkaAdminClient(bootstrap_servers=bootstrap, bootstrap_timeout_ms=_TIMEOUT_MS) as admin:
            known = set(admin.list_topics())
            missing = {name: count for name, count in topics.items() if name not in known}
            if missing:
                with contextlib.suppress(TopicAlreadyExistsError):  # another process was faster
                    admin.create_topics({name: {"num_partitions": count} for name, count in missing.items()})
                admin.wait_for_topics(list(missing))
    except (KafkaError, TimeoutError) as error:
        raise BrokerError(
            f"topics {sorted(topics)} cannot be made on {bootstrap} ({error}): check that the broker runs"
        ) from error


def existing_topics(bootstrap: str) -> frozenset[str]:
    """Names of the topics that this client may see. Raises BrokerError when Kafka does not answer."""
    refuse_unreachable(bootstrap)
    try:
        with KafkaAdminClient(bootstrap_servers=bootstrap, bootstrap_timeout_ms=_TIMEOUT_MS) as admin:
            return frozenset(admin.list_topics())
    except (KafkaError, TimeoutError) as error:
        raise BrokerError(f"Kafka at {bootstrap} does not answer as it should ({error}): look at its log") from error


def describe_topic(bootstrap: str, name: str) -> Topic:
    """Identity and oldest offsets of an existing topic. Raises BrokerError when Kafka does not answer."""
    refuse_unreachable(bootstrap)
    try:
        with KafkaAdminClient(bootstrap_servers=bootstrap, bootstrap_timeout_ms=_TIMEOUT_MS) as admin:
            (described,) = admin.describe_topics([name])
        places = [TopicPartition(name, one["partition_index"]) for one in described["partitions"]]
        with KafkaConsumer(bootstrap_servers=bootstrap, bootstrap_timeout_ms=_TIMEOUT_MS) as consumer:
            first = consumer.beginning_offsets(places)
    except (KafkaError, TimeoutError) as error:
        raise BrokerError(f"Kafka at {bootstrap} does not answer as it should ({error}): look at its log") from error
    return Topic(id=str(described["topic_id"]), first_offsets={place.partition: first[place] for place in places})


def refuse_unreachable(bootstrap: str) -> None:
    """Raise BrokerError at once when nothing listens at any of the addresses; Kafka's clients take ten seconds."""
    for address in bootstrap.split(","):
        host, _, port = address.strip().rpartition(":")
        try:
            socket.create_connection((host, int(port)), timeout=5).close()
        except ValueError as error:
            raise BrokerError(f"{address!r} is no Kafka address: write host:port") from error
        except OSError:
            continue
        return
    raise BrokerError(f"no Kafka broker listens at {bootstrap}: start one (`broker start`) or set RISK_KAFKA_BOOTSTRAP")

"""Topics: which exist, what we may do with them, and creating the missing ones."""

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError, TopicAlreadyExistsError

from schemas.errors import BrokerError
from schemas.spec import DAY_S
from streaming.topics.client import RIGHTS, TIMEOUT_MS, KafkaConnection, broker_error, sign_in

_NOT_ALLOWED, _UNKNOWN = 29, 3  # Kafka's error codes
Right = Literal["READ", "WRITE"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A topic as Kafka stores it. `id` stays the same until the topic is deleted (KIP-516)."""

    id: str
    first_offsets: Mapping[int, int]  # by partition: the oldest message that is still stored
    end_offsets: Mapping[int, int]  # by partition: the offset that the next message will have


def ensure_topics(kafka: KafkaConnection, topics: Mapping[str, int]) -> None:
    """Create each missing topic with that many partitions; leave the others as they are."""
    with admin_client(kafka) as admin:
        present = set(admin.list_topics())
        missing = {name: count for name, count in topics.items() if name not in present}
        if missing:
            with contextlib.suppress(TopicAlreadyExistsError):  # another process was faster
                admin.create_topics({name: {"num_partitions": count} for name, count in missing.items()})
            admin.wait_for_topics(list(missing))


def cluster_id(kafka: KafkaConnection) -> str:
    """Identity of the cluster that answers. Raises BrokerError when none does."""
    with admin_client(kafka) as admin:
        return str(admin.describe_cluster()["cluster_id"])


def topic_faults(kafka: KafkaConnection, needed: Mapping[str, Right]) -> dict[str, BrokerError]:
    """By topic, the error that keeps us from using it as needed. Raises BrokerError when Kafka does not answer."""
    with admin_client(kafka) as admin:
        described = {topic["name"]: topic for topic in admin.describe_topics(list(needed))}
    return {name: fault for name, right in needed.items() if (fault := _fault(described[name], right, kafka))}


def _fault(described: Mapping[str, Any], right: Right, kafka: KafkaConnection) -> BrokerError | None:
    name, allowed = described["name"], described.get("authorized_operations")
    if described["error_code"] == _NOT_ALLOWED or (allowed is not None and right not in allowed):
        fault = f"Kafka at {kafka.bootstrap} does not let user {kafka.username!r} {right.lower()} topic {name}"
        return BrokerError(fault, remedy=f"allow it {right} and DESCRIBE there; {RIGHTS}")
    if described["error_code"] == _UNKNOWN:
        remedy = "create it (`broker` does on this machine), or correct the setting that names it"
        return BrokerError(f"Kafka at {kafka.bootstrap} has no topic {name}", remedy)
    return None


def topic_id(kafka: KafkaConnection, name: str) -> str:
    """Identity of a topic. Raises BrokerError when it does not exist, we may not read it, or Kafka does not answer."""
    with admin_client(kafka) as admin:
        (described,) = admin.describe_topics([name])
    if fault := _fault(described, "READ", kafka):
        raise fault
    return str(described["topic_id"])


def describe_topic(kafka: KafkaConnection, name: str) -> Topic:
    """Identity and offsets of an existing topic. Raises BrokerError when Kafka does not answer."""
    with admin_client(kafka) as admin:
        (described,) = admin.describe_topics([name])
        places = [TopicPartition(name, partition["partition_index"]) for partition in described["partitions"]]
        with KafkaConsumer(bootstrap_timeout_ms=TIMEOUT_MS, **kafka.client_options()) as consumer:
            first, end = consumer.beginning_offsets(places), consumer.end_offsets(places)
    return Topic(
        id=str(described["topic_id"]),
        first_offsets={place.partition: first[place] for place in places},
        end_offsets={place.partition: end[place] for place in places},
    )


def topic_days(kafka: KafkaConnection, topics: Iterable[str]) -> dict[str, float]:
    """By topic the days that its messages stay, infinite without an end; without what the user may not ask.

    Raises BrokerError when Kafka does not answer.
    """
    days = {}
    with admin_client(kafka) as admin:
        for topic in topics:
            with contextlib.suppress(KafkaError, KeyError):  # no such topic, or no right DESCRIBE_CONFIGS
                asked = [ConfigResource(ConfigResourceType.TOPIC, topic)]
                configs = admin.describe_configs(asked, config_filter="all")["topic"][topic]
                limit_ms = int(configs["retention.ms"]["value"])
                is_deleted = "delete" in configs["cleanup.policy"]["value"] and limit_ms >= 0
                days[topic] = limit_ms / 1000 / DAY_S if is_deleted else math.inf
    return days


@contextlib.contextmanager
def admin_client(kafka: KafkaConnection) -> Iterator[KafkaAdminClient]:
    """A client for a few questions. Its errors are raised as BrokerError."""
    sign_in(kafka)
    try:
        with KafkaAdminClient(bootstrap_timeout_ms=TIMEOUT_MS, **kafka.client_options()) as admin:
            yield admin
    except (KafkaError, TimeoutError) as error:
        raise broker_error(error, kafka) from error

"""Topics: which there are, and making those that are missing."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import KafkaError, TopicAlreadyExistsError

from schemas.errors import BrokerError
from streaming.settings import Settings
from streaming.topics.client import PLAINTEXT, RIGHTS, TIMEOUT_MS, Security, explained, sign_in

_NOT_ALLOWED, _UNKNOWN = 29, 3  # Kafka's error codes
Right = Literal["READ", "WRITE"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A topic as Kafka holds it. `id` stays the same until it is deleted (KIP-516)."""

    id: str
    first_offsets: Mapping[int, int]  # by partition: the oldest message that is still there
    end_offsets: Mapping[int, int]  # by partition: the first one that is not there yet


def ensure_topics(bootstrap: str, topics: Mapping[str, int], *, security: Security = PLAINTEXT) -> None:
    """Create each topic that is missing, with that many partitions; leave the others as they are."""
    with _admin(bootstrap, security) as admin:
        known = set(admin.list_topics())
        missing = {name: count for name, count in topics.items() if name not in known}
        if missing:
            with contextlib.suppress(TopicAlreadyExistsError):  # another process was faster
                admin.create_topics({name: {"num_partitions": count} for name, count in missing.items()})
            admin.wait_for_topics(list(missing))


def wanted_of(settings: Settings) -> dict[str, Right]:
    """What the job wants of its two topics."""
    return {settings.topic: "READ", settings.dead_letter_topic: "WRITE"}


def topic_faults(bootstrap: str, wanted: Mapping[str, Right], *, security: Security = PLAINTEXT) -> dict[str, str]:
    """By topic, what keeps us from what is wanted of it, with the remedy. Raises BrokerError without an answer."""
    with _admin(bootstrap, security) as admin:
        described = {one["name"]: one for one in admin.describe_topics(list(wanted))}
    return {
        name: fault for name, right in wanted.items() if (fault := _fault(described[name], right, bootstrap, security))
    }


def _fault(described: Mapping[str, Any], right: Right, bootstrap: str, security: Security) -> str | None:
    name, may = described["name"], described.get("authorized_operations")
    if described["error_code"] == _NOT_ALLOWED or (may is not None and right not in may):
        return (
            f"Kafka at {bootstrap} does not let user {security.username!r} {right.lower()} topic {name}: allow it "
            f"{right} and DESCRIBE there; {RIGHTS}"
        )
    if described["error_code"] == _UNKNOWN:
        return (
            f"Kafka at {bootstrap} has no topic {name}: create it (`broker start` does on this machine), or correct "
            "RISK_TOPIC or RISK_DEAD_LETTER_TOPIC"
        )
    return None


def topic_id(bootstrap: str, name: str, *, security: Security = PLAINTEXT) -> str:
    """Identity of a topic. Raises BrokerError when there is none, when we may not read it, or without an answer."""
    with _admin(bootstrap, security) as admin:
        (described,) = admin.describe_topics([name])
    if fault := _fault(described, "READ", bootstrap, security):  # it has no identity then
        raise BrokerError(fault)
    return str(described["topic_id"])


def describe_topic(bootstrap: str, name: str, *, security: Security = PLAINTEXT) -> Topic:
    """Identity and offsets of an existing topic. Raises BrokerError when Kafka does not answer."""
    options = {"bootstrap_servers": bootstrap, "bootstrap_timeout_ms": TIMEOUT_MS, **security.client()}
    with _admin(bootstrap, security) as admin:
        (described,) = admin.describe_topics([name])
        places = [TopicPartition(name, one["partition_index"]) for one in described["partitions"]]
        with KafkaConsumer(**options) as consumer:
            first, end = consumer.beginning_offsets(places), consumer.end_offsets(places)
    return Topic(
        id=str(described["topic_id"]),
        first_offsets={place.partition: first[place] for place in places},
        end_offsets={place.partition: end[place] for place in places},
    )


@contextlib.contextmanager
def _admin(bootstrap: str, security: Security) -> Iterator[KafkaAdminClient]:
    """A client for a few questions; what goes wrong on the way is raised as BrokerError."""
    sign_in(bootstrap, security)
    try:
        with KafkaAdminClient(
            bootstrap_servers=bootstrap, bootstrap_timeout_ms=TIMEOUT_MS, **security.client()
        ) as admin:
            yield admin
    except (KafkaError, TimeoutError) as error:
        raise explained(error, bootstrap, security) from error

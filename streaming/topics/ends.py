"""For how long Kafka keeps the messages of a topic."""

import math
from collections.abc import Iterable
from contextlib import suppress

from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError

from schemas.spec import DAY_S
from streaming.topics.admin import admin_client
from streaming.topics.client import KafkaConnection


def topic_days(kafka: KafkaConnection, topics: Iterable[str]) -> dict[str, float]:
    """By topic the days that its messages stay, infinite without an end; without what the user may not ask.

    Raises BrokerError when Kafka does not answer.
    """
    days = {}
    with admin_client(kafka) as admin:
        for topic in topics:
            with suppress(KafkaError, KeyError):  # no such topic, or no right DESCRIBE_CONFIGS
                asked = [ConfigResource(ConfigResourceType.TOPIC, topic)]
                configs = admin.describe_configs(asked, config_filter="all")["topic"][topic]
                limit_ms = int(configs["retention.ms"]["value"])
                is_deleted = "delete" in configs["cleanup.policy"]["value"] and limit_ms >= 0
                days[topic] = limit_ms / 1000 / DAY_S if is_deleted else math.inf
    return days

"""The dead letter: what is written to `incidents.v1.dlq` for every refused message."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import msgspec

from schemas.event import AwareTime, Reason
from schemas.incidents import Rejection

SCHEMA_VERSION: Literal[1] = 1

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A refused message: the reason and its place. `source_*` identify it; a repeated batch repeats the letter."""

    schema_version: Annotated[Literal[1], msgspec.Meta(description="Version of this message")]
    reason: Annotated[Reason, msgspec.Meta(description="Why the message was refused")]
    detail: Annotated[str, msgspec.Meta(description="One sentence; names fields, never repeats their values")]
    source_topic: Annotated[str, msgspec.Meta(description="Topic of the refused message")]
    source_partition: Annotated[int, msgspec.Meta(ge=0, description="Its partition")]
    source_offset: Annotated[int, msgspec.Meta(ge=0, description="Its position in the partition")]
    source_time: Annotated[
        AwareTime | None,
        msgspec.Meta(description="Its Kafka timestamp; null when that is no time before the year 10000"),
    ]
    region: Annotated[
        str | None, msgspec.Meta(description="Its region; null when it names none that this deployment scores")
    ]
    payload_base64: Annotated[
        bytes | None,
        msgspec.Meta(
            description="Its bytes in base64; null for `person_field` (never kept), `null_value`, `too_large`, for "
            "what the region's clock refuses, and beyond 4 MiB of refused messages in a Spark task"
        ),
    ]


def encode_dead_letter(rejection: Rejection, *, source_topic: str, region: str | None) -> bytes:
    """The dead letter as JSON in UTF-8. `region` is None for a message that names none of this deployment.

    >>> rejection = Rejection("not_json", "the message is cut off", 0, 12, 1_800_000_000_000, b"{")
    >>> letter = msgspec.json.decode(encode_dead_letter(rejection, source_topic="incidents.v1", region=None))
    >>> letter["reason"], letter["source_offset"], letter["payload_base64"]
    ('not_json', 12, 'ew==')
    """
    return msgspec.json.encode(
        DeadLetter(
            schema_version=SCHEMA_VERSION,
            reason=rejection.reason,
            detail=rejection.detail,
            source_topic=source_topic,
            source_partition=rejection.partition,
            source_offset=rejection.kafka_offset,
            source_time=_time(rejection.kafka_time_ms),
            region=region,
            payload_base64=None if rejection.reason == "person_field" else rejection.payload,
        )
    )


def _time(epoch_ms: int) -> datetime | None:
    """A producer can set Kafka's timestamp to any number. A negative number means that there is no time."""
    try:
        return _EPOCH + timedelta(milliseconds=epoch_ms) if epoch_ms >= 0 else None
    except OverflowError:
        return None

"""The decoder and the real time: no producer's clock may carry a region's clock away."""

import numpy as np
import pytest

from schemas.decode import Messages, Vocabulary, decode_messages
from tests.harness.toy import toy_spec

NOW_MS = 1_767_225_600_000
SPEC = toy_spec(3, 3, categories=("ems",))


def message(when: str) -> bytes:
    return (
        f'{{"incident_id":"a","region":"toyville","occurred_at":"{when}","category":"ems","lat":41.01,"lon":-86.99,'
        '"origin":"public_call"}'
    ).encode()


def outcome(when: str, kafka_ms: int, now_ms: int | None) -> str:
    one = Messages(
        values=[message(when)],
        partition=np.array([0]),
        kafka_offset=np.array([0]),
        kafka_time_ms=np.array([kafka_ms]),
    )
    decoded = decode_messages(one, {"toyville": Vocabulary.of(SPEC)}, now_ms=now_ms)
    return "taken" if len(decoded.incidents["toyville"]) else decoded.rejections["toyville"][0].reason


@pytest.mark.fault("F18")
def test_a_kafka_timestamp_ahead_of_the_real_time_makes_the_message_future():
    ahead_ms = NOW_MS + 300_001
    assert outcome("2026-01-01T00:05:00Z", ahead_ms, NOW_MS) == "future"
    assert outcome("2026-01-01T00:05:00Z", NOW_MS + 300_000, NOW_MS) == "taken"
    assert outcome("2099-01-01T00:00:00Z", 4_070_908_800_000, NOW_MS) == "future"
    assert outcome("2026-01-01T00:05:00Z", ahead_ms, None) == "taken"

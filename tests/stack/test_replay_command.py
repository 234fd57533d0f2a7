import json

import pytest
from typer.testing import CliRunner

from incident_risk import app
from schemas.errors import BrokerError
from streaming.topics.kafka import KafkaConnection, ensure_topics
from tests.harness.topic import Topic

CALLS = "lat,lng,title,timeStamp\n" + "".join(
    f"40.1{minute:02d},-75.3,{'EMS: FALL' if minute % 2 else 'Fire: ALARM'},2016-01-23 12:{minute:02d}:00\n"
    for minute in range(60)
)
ALL_OF_IT = ("--layout", "montgomery", "--region", "county", "--speed", "0")


def replay(topic, *words):
    environment = {"RISK_KAFKA_BOOTSTRAP": topic[0], "RISK_TOPIC": topic[1], "RISK_AUDIT": ""}
    return CliRunner().invoke(app, ["replay", *map(str, words)], env=environment, catch_exceptions=False)


def test_a_replayed_file_arrives_with_its_keys_times_and_mix(tmp_path, broker):
    path = tmp_path / "911.csv"
    path.write_text(CALLS, encoding="utf-8")
    ensure_topics(KafkaConnection(broker.bootstrap), {"replayed": 4})

    ran = replay((broker.bootstrap, "replayed"), path, *ALL_OF_IT, "--mixed")

    assert ran.exit_code == 0
    said = " ".join(ran.output.split())
    assert "sent 68 messages" in said
    assert "60 incidents, 4 duplicates, 2 corrections, 2 bad" in said
    records = Topic(broker.bootstrap, "replayed", 4).records()
    assert len(records) == 68
    incidents = [record for record in records if record.key.startswith(b"montgomery-")]
    assert {record.key for record in incidents} == {b"montgomery-%07d" % row for row in range(1, 61)}
    for record in incidents:
        assert record.key.decode() == json.loads(record.value)["incident_id"]
        assert record.timestamp_type == 0  # the producer's time, not the broker's


def test_a_replay_into_a_topic_that_is_missing_names_it(tmp_path, broker):
    path = tmp_path / "911.csv"
    path.write_text(CALLS, encoding="utf-8")
    with pytest.raises(BrokerError, match="no topic nowhere"):
        replay((broker.bootstrap, "nowhere"), path, *ALL_OF_IT)

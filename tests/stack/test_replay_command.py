import json
from types import MappingProxyType

import pytest
import typer
from typer.testing import CliRunner

from schemas.errors import BrokerError
from streaming.cli.broker import broker_app
from streaming.cli.replay import replay
from streaming.settings import Settings
from streaming.topics.admin import ensure_topics
from streaming.topics.client import KafkaConnection
from tests.harness.topic import Topic

CALLS = "lat,lng,title,timeStamp\n" + "".join(
    f"40.1{minute:02d},-75.3,{'EMS: FALL' if minute % 2 else 'Fire: ALARM'},2016-01-23 12:{minute:02d}:00\n"
    for minute in range(60)
)


def application(settings):
    app = typer.Typer()
    app.add_typer(broker_app, name="broker")
    app.command("replay")(replay)

    @app.callback()
    def give_settings(context: typer.Context) -> None:
        context.obj = settings

    return app


def settings_for(broker, jar_cache, **changes):
    environment = {"RISK_KAFKA_BOOTSTRAP": broker.bootstrap, "RISK_CACHE": str(jar_cache), **changes}
    return Settings.from_environment(MappingProxyType(environment))


def test_a_replayed_file_arrives_with_its_keys_times_and_mix(tmp_path, broker, jar_cache):
    path = tmp_path / "911.csv"
    path.write_text(CALLS, encoding="utf-8")
    ensure_topics(KafkaConnection(broker.bootstrap), {"replayed": 4})
    app = application(settings_for(broker, jar_cache, RISK_TOPIC="replayed"))
    arguments = ["--layout", "montgomery", "--region", "county", "--speed", "0", "--shift-to", "52"]
    mix = ["--duplicates", "0.5", "--corrections", "0.25", "--bad", "1"]

    ran = CliRunner().invoke(app, ["replay", str(path), *arguments, *mix], catch_exceptions=False)

    assert ran.exit_code == 0
    said = " ".join(ran.output.split())
    assert "sent 165 messages" in said
    assert "60 incidents, 30 duplicates, 15 corrections, 60 bad" in said
    records = Topic(broker.bootstrap, "replayed", 4).records()
    assert len(records) == 165
    incidents = [record for record in records if record.key.startswith(b"montgomery-")]
    assert {record.key for record in incidents} == {b"montgomery-%07d" % row for row in range(1, 61)}
    for record in incidents:
        event = json.loads(record.value)
        assert record.key.decode() == event["incident_id"]
        assert event["occurred_at"].startswith("2017-01-21T17:")  # 52 weeks on, noon in winter Pennsylvania
        assert record.timestamp_type == 0  # the producer's time, not the broker's
    first = [record for record in incidents if json.loads(record.value).get("revision", 0) == 0]
    assert len(first) == 90
    assert len({(record.key, record.value) for record in first}) == 60


def test_a_start_of_a_running_broker_says_so_and_a_stop_of_none_too(tmp_path, broker, jar_cache):
    app = application(settings_for(broker, jar_cache))
    for arguments, words in (
        (["start", "--folder", str(broker.folder)], "already runs"),
        (["status", "--folder", str(broker.folder)], broker.bootstrap),
        (["stop", "--folder", str(tmp_path)], "no broker runs"),
    ):
        ran = CliRunner().invoke(app, ["broker", *arguments], catch_exceptions=False)
        assert (ran.exit_code, words in " ".join(ran.output.split())) == (0, True)
    assert CliRunner().invoke(app, ["broker", "status", "--folder", str(tmp_path)]).exit_code == 1


def test_a_replay_into_a_topic_that_is_missing_names_it(tmp_path, broker, jar_cache):
    path = tmp_path / "911.csv"
    path.write_text(CALLS, encoding="utf-8")
    app = application(settings_for(broker, jar_cache, RISK_TOPIC="nowhere"))
    arguments = ["--layout", "montgomery", "--region", "county", "--speed", "0"]
    with pytest.raises(BrokerError, match="no topic nowhere"):
        CliRunner().invoke(app, ["replay", str(path), *arguments], catch_exceptions=False)

"""A topic that was deleted and created again is noticed at a start and while the job runs."""

import socket
import time
from dataclasses import replace
from threading import Event

import pytest

from schemas.errors import CheckpointError
from streaming import job as source_topic
from streaming.job import SourceTopic
from streaming.settings import Settings
from streaming.topics.kafka import Topic
from tests.harness.checkpoint import begin_at

INCIDENTS = "incidents.v1"


@pytest.fixture
def topics(monkeypatch):
    """By name, what Kafka has: a test may change it."""
    held = {INCIDENTS: Topic(id="first", first_offsets={0: 0}, end_offsets={0: 9})}
    monkeypatch.setattr(source_topic, "topic_faults", lambda kafka, needed: {})
    monkeypatch.setattr(source_topic, "describe_topic", lambda kafka, name: held[name])
    monkeypatch.setattr(source_topic, "topic_id", lambda kafka, name: held[name].id)
    return held


@pytest.fixture
def start(topics, tmp_path):
    """start(): what a job that begins to read, or goes on, knows of its topic."""
    with socket.create_server(("127.0.0.1", 0)) as kafka:
        settings = Settings(
            checkpoint=tmp_path / "checkpoint",
            audit=tmp_path / "audit.jsonl",
            kafka_bootstrap=f"127.0.0.1:{kafka.getsockname()[1]}",
        )

        def start():
            source = SourceTopic(settings)
            assert source.verify(Event())
            begin_at(settings.checkpoint, {"0": 0})
            return source

        yield start


def look_again(source, *, seconds=0.7):
    """While the job's watch asks; raises what it found."""
    with source.watched():
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            source.refuse()
            time.sleep(0.01)
        source.refuse()


@pytest.mark.fault("F09")
def test_a_topic_made_anew_is_refused_at_a_start_and_ends_a_running_job(topics, start):
    start()
    running = start()
    topics[INCIDENTS] = replace(topics[INCIDENTS], id="another")
    refusal = rf"topic {INCIDENTS} was deleted and created again .*\(id first, now another\)"
    with pytest.raises(CheckpointError, match=refusal):
        look_again(running, seconds=60)
    with pytest.raises(CheckpointError, match=refusal):
        start()


def test_a_topic_that_stays_is_taken(start):
    look_again(start())
    start()

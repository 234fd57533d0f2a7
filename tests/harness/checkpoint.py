"""What Spark leaves in a checkpoint, written without Spark, and a topic to verify it for."""

import json

import msgspec

from schemas.files import replace_file
from streaming.checkpoint import STATE_LAYOUT, CheckpointGuard, verify_checkpoint
from streaming.kafka import Topic

TOPIC = Topic(id="5f0c", first_offsets={0: 0, 1: 0}, end_offsets={0: 9_000, 1: 9_000})


def verify(settings, topic=TOPIC):
    """As at a start of the job."""
    guard = CheckpointGuard.of(settings, topic.id)
    verify_checkpoint(settings.checkpoint, guard, topic, audit=settings.audit)


def write_guard(checkpoint, clock="wall"):
    """What the job keeps of its settings, once it has begun to count."""
    settings = {"clock": clock, "starting": "earliest", "shuffle_partitions": 1}
    guard = CheckpointGuard(topic="t", topic_id="i", spark="4.1.0", state_layout=STATE_LAYOUT, **settings)
    replace_file(checkpoint / "guard.json", msgspec.json.encode(guard))


def begin_at(checkpoint, offsets):
    """Where the query begins, by partition: Spark keeps that once it has asked Kafka, before the first batch."""
    source = checkpoint / "spark" / "sources" / "0"
    source.mkdir(parents=True, exist_ok=True)
    (source / "0").write_text("\0v1\n" + json.dumps({"incidents.v1": offsets}), encoding="utf-8")


def spark_files(checkpoint, number, *, read, at_s, begin=None, beside=None):
    """What Spark writes before a batch. read, begin: by partition, the first offset after it and before all batches.

    beside: by name of another topic, the same as `read`.
    """
    offsets = checkpoint / "spark" / "offsets"
    offsets.mkdir(parents=True, exist_ok=True)
    kafka = json.dumps({**(beside or {}), "incidents.v1": read}) if read else "-"
    lines = ["v1", json.dumps({"batchTimestampMs": at_s * 1000, "conf": {}}), kafka, json.dumps({"offset": number})]
    (offsets / str(number)).write_text("\n".join(lines), encoding="utf-8")
    if begin:
        begin_at(checkpoint, begin)


def commit(checkpoint, batch, read, *, is_done=True):
    """A batch with the offsets that it reads up to, and its commit when it is done."""
    spark_files(checkpoint, batch, read=read, at_s=7)
    commits = checkpoint / "spark" / "commits"
    commits.mkdir(exist_ok=True)
    if is_done:
        (commits / str(batch)).write_text("v1\n{}\n", encoding="utf-8")


def tree(folder):
    """path below the folder -> content, of every file."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

"""What Spark leaves in a checkpoint, written without Spark, and a topic to verify it for."""

import json

from streaming.disk.guard import Guard, verify_checkpoint
from streaming.topics.admin import Topic

TOPIC = Topic(id="5f0c", first_offsets={0: 0, 1: 0}, end_offsets={0: 9_000, 1: 9_000})


def verify(settings, topic=TOPIC):
    """As at a start of the job."""
    verify_checkpoint(settings.checkpoint, Guard.of(settings, topic.id), topic, audit=settings.audit)


def begin(checkpoint, offsets):
    """Where the query begins, by partition: Spark keeps that once it has asked Kafka, before the first batch."""
    (checkpoint / "spark" / "sources" / "0").mkdir(parents=True)
    text = "\0v1\n" + json.dumps({"incidents.v1": offsets})
    (checkpoint / "spark" / "sources" / "0" / "0").write_text(text, encoding="utf-8")


def commit(checkpoint, batch, read):
    """A committed batch, with the offsets that it had read up to."""
    for name, lines in {
        "offsets": ["v1", json.dumps({"conf": {"1": "no topic"}}), "7", json.dumps({"incidents.v1": read})],
        "commits": ["v1", "{}"],
    }.items():
        (checkpoint / "spark" / name).mkdir(parents=True, exist_ok=True)
        (checkpoint / "spark" / name / str(batch)).write_text("\n".join(lines), encoding="utf-8")

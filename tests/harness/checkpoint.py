"""A checkpoint as the job leaves it, written without Spark, and a topic to take it over for."""

import json

import msgspec

from models.artifact import read_spec
from models.counting.blobs import Journal, keep_counts, pack_counts
from models.counting.count_state import CountState
from schemas.batches import LoggedBatch, LoggedRegion, batches_folder, day_of
from schemas.files import replace_file
from schemas.incidents import Incidents
from streaming.artifacts_in_force import refresh_roster
from streaming.checkpoint import STATE_LAYOUT, CheckpointGuard, take_over_checkpoint
from streaming.kafka import Topic
from tests.harness.toy import toy_artifact

TOPIC = Topic(id="5f0c", first_offsets={0: 0, 1: 0}, end_offsets={0: 9_000, 1: 9_000})


def take_over(settings, topic=TOPIC):
    """As at a start of the job."""
    guard = CheckpointGuard.of(settings, topic.id)
    take_over_checkpoint(settings.checkpoint, guard, topic, audit=settings.audit)


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


class KeptWorld:
    """One region's job on the wall clock."""

    def __init__(self, folder, spec, *, clock="wall", cutoff_s=1_600_000_000):
        self.checkpoint, self.artifacts = folder / "checkpoint", folder / "artifacts"
        self.spec, self.taken = spec, []  # (clock, incidents) of each batch
        self.artifact = toy_artifact(self.artifacts, spec, cutoff_s=cutoff_s)
        assert read_spec(self.artifact) == spec
        self.checkpoint.mkdir(exist_ok=True)
        write_guard(self.checkpoint, clock)
        refresh_roster(self.checkpoint / "roster.json", self.artifacts)
        state = CountState(spec)
        state.advance(cutoff_s)
        self._journal, _ = Journal.start(state)
        self._kept_day, self._totals, self._newest_s = "", {}, 0

    def batch(self, clock_s, incidents=None, *, rejected=0, scores=""):
        """What a batch does to a region (streaming/flow/count.py), and its line in the log."""
        incidents = Incidents.empty() if incidents is None else incidents
        day = max(day_of(clock_s * 1000), self._kept_day)
        batches = batches_folder(self.checkpoint)
        if day != self._kept_day:
            packed = pack_counts(self._journal.state, totals=self._totals, newest_event_s=0)
            keep_counts(self.checkpoint, day, self.spec.region, packed)
            self._kept_day = day
        self._journal.record(self._journal.state.apply(incidents, clock_s).changed)
        new = {"consumed": len(incidents) + rejected, "rejected": rejected}
        self._totals = {name: self._totals.get(name, 0) + count for name, count in new.items()}
        self._newest_s = max(self._newest_s, incidents.occurred_s.max(initial=0).item())
        logged = LoggedRegion(
            as_of_s=clock_s,
            artifact=self.artifact.name,
            scores=scores,
            totals=self._totals,
            newest_event_s=self._newest_s,
        )
        line = LoggedBatch(
            number=len(self.taken), at_ms=clock_s * 1000, top_k=1, offsets={}, regions={self.spec.region: logged}
        )
        with (batches / day / "batches.jsonl").open("ab") as log:
            log.write(msgspec.json.encode(line) + b"\n")
        self.taken.append((clock_s, incidents))


def rows_of(path, version=None):
    """{(region, day since 1970, cell, category, bin): count} of an archive, read without our reader."""
    from deltalake import DeltaTable

    rows = DeltaTable(str(path), version=version).to_pyarrow_table().to_pylist()
    keys = {}
    for row in rows:
        key = (row["region"], row["day"].toordinal() - 719_163, row["cell"], row["category"], row["bin"])
        assert key not in keys, "a row is there twice"
        keys[key] = row["count"]
    return keys

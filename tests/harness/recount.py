"""A recount of all that a job has done: each logged batch is counted and scored anew, without Spark and in one pass.

It is the oracle of the fault suite and of the clusters: every batch has the messages, the clock and the artifacts that
it had live, and must lead to the ledger in the log and to the very scores that were stored. Run as a program, also from
the text of this file (`python -c TEXT` in a container, which has no tests), it says whether every frame is equal.
"""

import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from kafka import KafkaConsumer, TopicPartition

from models.artifact import read_spec
from models.counting.blobs import read_counts
from models.counting.count_state import CountState
from models.features import FeatureEngine, Features
from models.scoring import stored_views
from models.unusual import RegionScan
from schemas.areas import NO_MASKS, Masks, read_masks
from schemas.batches import (
    LoggedBatch,
    LoggedRegion,
    batches_folder,
    counts_path,
    logged_batches,
    logged_days,
)
from schemas.decode import Messages, decode_messages
from schemas.forecasts import FollowerStates
from schemas.frame import RiskFrame
from schemas.incidents import Incidents
from schemas.records import read_roster, roster_path
from schemas.spec import Spec
from streaming.artifacts_in_force import load_artifact
from streaming.flow.intake import take_in
from streaming.flow.rows import FIELDS, UNASSIGNED, add_up, tick_of
from streaming.flow.score import Followed, followed_from, networks, score_features
from streaming.kafka import KafkaConnection
from streaming.settings import Settings
from streaming.sinks.line_protocol import risk_lines, top_lines, unusual_lines

EXPIRE_EVERY = 64  # batches of a region
SILENCE_S = 30.0
SLICE = 5_000  # messages decoded at once, as in the stream


class RecountError(AssertionError):
    """A batch gives other counts than the job stored, or its messages are gone."""


@dataclass(slots=True)
class RegionNow:
    """A region's counts up to the batch that was counted last."""

    state: CountState
    totals: Mapping[str, int]
    batches: int = 0


@dataclass(slots=True)
class Recount:
    """Counts logged batches: call `points` with each of them in turn. frames: (batch, region) that give points."""

    frames: frozenset[tuple[int, str]]
    checkpoint: Path
    artifacts: Path
    specs: Mapping[str, Spec]
    masks: Masks = NO_MASKS
    differing: int = 0  # frames that are not equal to what was written live
    joined: dict[str, Spec] = field(default_factory=dict)  # regions of the batches until now
    regions: dict[str, RegionNow] = field(default_factory=dict)
    engines: dict[Path, FeatureEngine] = field(default_factory=dict)  # by artifact

    def points(self, batch: LoggedBatch, messages: Iterable[Messages]) -> bytes:
        """Count the batch; its scores that no later batch overwrote, as line protocol. Raises RecountError."""
        logged = {region: entry for region, entry in batch.regions.items() if region != UNASSIGNED}
        self.joined |= {region: self.specs[region] for region in logged}
        decoded = [decode_messages(part, self.joined, now_ms=batch.at_ms, masks=self.masks) for part in messages]
        for region in {name for part in decoded for name in (*part.incidents, *part.rejections)} - batch.regions.keys():
            raise RecountError(f"batch {batch.number} has messages of {region or 'no region'} that are not in the log")
        lines = bytearray()
        for region, entry in logged.items():
            now = self.regions.get(region) or self.opened(batch, region)
            self.regions[region] = now
            incidents = Incidents.concatenate([part.incidents[region] for part in decoded if region in part.incidents])
            refused = [rejection for part in decoded for rejection in part.rejections.get(region, ())]
            consumed = len(incidents) + len(refused)
            _, _, ledger = take_in(now.state, incidents, refused, as_of_s=entry.as_of_s, consumed=consumed)
            now.totals, now.batches = add_up(now.totals, ledger), now.batches + 1
            live, counted = {"as_of": entry.as_of_s, **entry.totals}, {"as_of": now.state.as_of_s, **now.totals}
            pairs = {name: (live.get(name, 0), counted.get(name, 0)) for name in {**live, **counted}}
            if wrong := [f"{name} {was} live, {is_now} now" for name, (was, is_now) in pairs.items() if was != is_now]:
                raise RecountError(
                    f"batch {batch.number} gives other counts than the job stored, in {region} ({', '.join(wrong)})"
                )
            if now.batches % EXPIRE_EVERY == 0:
                now.state.registry.expire(now.state.drop_before_s)
            if (batch.number, region) in self.frames:
                lines += b"".join(self.lines(region, entry, now.state, batch.top_k))
        return bytes(lines)

    def lines(self, region: str, logged: LoggedRegion, state: CountState, top_k: int) -> Iterator[bytes]:
        folder = self.artifacts / region / logged.artifact
        artifact = load_artifact(str(folder))
        engine = self.engines.setdefault(folder, FeatureEngine(artifact.spec, artifact.constants))
        states = FollowerStates.of(self.checkpoint, region, logged.artifact)
        following = states.path(int(logged.following)) if logged.following else None
        frame = scored_frame(str(folder), engine.compute(state), state.as_of_s, following)
        self.differing += frame.digest() != logged.scores
        for view in stored_views(frame, artifact.constants):
            yield risk_lines(view)
            yield top_lines(view, top_k)
        yield unusual_lines(frame)

    def opened(self, batch: LoggedBatch, region: str) -> RegionNow:
        path = counts_path(batches_folder(self.checkpoint), batch.day, region)
        state, totals, _ = read_counts(path, self.specs[region])
        return RegionNow(state, totals)


def scored_frame(folder: str, features: Features, as_of_s: int, following: Path | None = None) -> RiskFrame:
    """The frame of an artifact and a region's features, on the CPU: without Spark, by the stream's functions.

    following: the file of what was followed.
    """
    artifact = load_artifact(folder)
    network_of = partial(networks("cpu"), folder)
    tick_s = as_of_s - as_of_s % artifact.spec.tick_s
    follows = followed_from(following, folder, tick_s) if following else Followed()
    values = features.values.astype("<f4").tobytes()
    model, scores = score_features(artifact, network_of, values, follows.factors, features.lately)
    scan = RegionScan(artifact.spec, artifact.constants)  # a new one looks at all there is
    before = follows.before if scores.is_followed else None
    return RiskFrame(
        spec=artifact.spec,
        as_of_s=as_of_s,
        model=model,
        observed_1h=features.observed_1h,
        support=features.support,
        unusual=scan.places(features.recent, scores.usual[:, :, 0], tick_s, before),
        silent=features.silent,
        surges=scores.surges,
        **{name: getattr(scores, name).astype(np.float32) for name in FIELDS},
    )


def planned(checkpoint: Path, specs: Mapping[str, Spec]) -> tuple[list[LoggedBatch], frozenset[tuple[int, str]]]:
    """All logged batches, and (batch, region) of those whose scores the store had last.

    A tick's later batches overwrite the points of those before.
    """
    batches = [batch for day in logged_days(checkpoint) for batch in logged_batches(checkpoint, day)]
    newest = {
        (region, tick_of(logged.as_of_s, specs.get(region))): batch.number
        for batch in batches
        for region, logged in batch.regions.items()
        if logged.scores
    }
    return batches, frozenset((number, region) for (region, _), number in newest.items())


def recount(settings: Settings, path: Path) -> Recount:
    """Count what a job that has ended left behind, and write its points to a file. Raises RecountError, RiskError."""
    torch.set_num_threads(1)  # as in the job: the number of threads can change a sum's last bit
    entries = read_roster(roster_path(settings.checkpoint))
    specs = {region: read_spec(Path(entry.folder)) for region, entry in entries.items()}
    batches, frames = planned(settings.checkpoint, specs)
    counter = Recount(frames, settings.checkpoint, settings.artifacts.absolute(), specs, read_masks(settings.masks))
    with ExitStack() as stack, path.open("wb") as file:
        kafka, partitions = KafkaConnection.of(settings), {part for batch in batches for part in batch.offsets}
        readers = {
            part: stack.enter_context(closing(PartitionReader(kafka, settings.topic, part))) for part in partitions
        }
        for batch in batches:
            parts = (readers[part].read(first, end) for part, (first, end) in batch.offsets.items())
            file.write(counter.points(batch, chain.from_iterable(parts)))
    return counter


class PartitionReader:
    """Reads spans of one partition: a consumer of several may lose what it fetched of one that it pauses."""

    def __init__(self, kafka: KafkaConnection, topic: str, partition: int) -> None:
        self.place = TopicPartition(topic, partition)
        self.consumer = KafkaConsumer(auto_offset_reset="none", enable_auto_commit=False, **kafka.client_options())
        self.consumer.assign([self.place])
        self.next = -1

    def close(self) -> None:
        self.consumer.close()

    def read(self, first: int, end: int) -> Iterator[Messages]:
        """The messages from `first` to before `end`, in slices. Raises RecountError when Kafka has them no more."""
        if self.next != first:
            self.consumer.seek(self.place, first)
        deadline = time.monotonic() + SILENCE_S
        while True:
            self.next = self.consumer.position(self.place)
            if self.next >= end:
                return
            polled = self.consumer.poll(timeout_ms=500, max_records=min(SLICE, end - self.next))
            records = [record for record in chain.from_iterable(polled.values()) if record.offset < end]
            if records:
                deadline = time.monotonic() + SILENCE_S
                yield Messages.of(
                    [record.value for record in records],
                    partition=np.array([record.partition for record in records], np.int32),
                    kafka_offset=np.array([record.offset for record in records], np.int64),
                    kafka_time_ms=np.array([record.timestamp for record in records], np.int64),
                )
            elif time.monotonic() > deadline:
                raise RecountError(f"Kafka sent nothing of {self.place} from offset {self.next} to {end}")


if __name__ == "__main__":
    done = recount(Settings.from_environment(os.environ), Path("/dev/null"))
    sys.stdout.write(f"recounted {len(done.frames):,} frames, {done.differing:,} differ from what was written live\n")

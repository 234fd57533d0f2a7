"""Writes scores again that the store has lost: each logged batch is counted and scored anew, without Spark.

A reset of the checkpoint cannot do it: it judges the messages by the clock of today, so it gives no lost minute back.
Here every batch has the messages, the clock and the artifacts that it had live, and must lead to the ledger in the log.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import torch

from models.all_categories import stored_views
from models.artifact.artifact import read_spec
from models.counting.count_state import CountState
from models.features import FeatureEngine
from schemas.decode import Messages, decode_messages
from schemas.errors import CheckpointError, EventsGone, PipelineError
from schemas.incidents import Incidents
from schemas.instants import instant_text
from schemas.left_behind.batch_log import (
    KEEP_DAYS,
    LoggedBatch,
    LoggedRegion,
    batches_folder,
    counts_path,
    logged_batches,
    logged_days,
)
from schemas.left_behind.follower_states import FollowerStates
from schemas.left_behind.roster import read_roster, roster_path
from schemas.masks import NO_MASKS, Masks, read_masks
from schemas.spec import Spec
from streaming.disk.checkpoint import CheckpointGuard, guard_of, only_writer, refuse_changes
from streaming.disk.kept_counts import read_counts
from streaming.flow.intake import take_in
from streaming.flow.ledger import UNASSIGNED, add_up, tick_of
from streaming.flow.score import scored_frame
from streaming.roster.roster import load_artifact
from streaming.settings import Settings
from streaming.sinks.line_protocol import risk_lines, top_lines, unusual_lines
from streaming.sinks.sink import open_sink
from streaming.topics.kafka import KafkaConnection, describe_topic
from streaming.topics.reader import TopicReader

_EXPIRE_EVERY = 64  # batches of a region


@dataclass(frozen=True, slots=True)
class RebuildReport:
    """What a rebuild did. `differing`: frames that are not equal to what was written live."""

    frames: int
    differing: int
    points: int


@dataclass(frozen=True, slots=True)
class RebuildPlan:
    """Batches to count, from the start of a day on, and (batch, region) of those whose scores the store had last."""

    batches: Sequence[LoggedBatch]
    frames: frozenset[tuple[int, str]]

    @property
    def offsets(self) -> Mapping[int, tuple[int, int]]:
        """By partition, the first message needed and the first one after them."""
        needed: dict[int, tuple[int, int]] = {}
        for partition, (first, end) in chain.from_iterable(batch.offsets.items() for batch in self.batches):
            needed[partition] = (needed.get(partition, (first, end))[0], end)
        return needed


def rebuild_span(settings: Settings, span: range, *, on_batch: Callable[[int, int], None]) -> RebuildReport:
    """Write the scores of a span, epoch seconds, again. It reads the checkpoint and Kafka, and changes neither.

    A job may run beside it: then the newest tick of each region, which the job may still write, is left out.
    on_batch: told (batches done, batches in all). Raises CheckpointError when the log lacks the span, ArtifactError
    when an artifact is gone, EventsGone when Kafka no longer has the events, PipelineError when a batch gives other
    counts than the job stored.
    """
    guard, kafka = guard_of(settings.checkpoint), KafkaConnection.of(settings)
    torch.set_num_threads(1)  # as in the job: the number of threads can change a sum's last bit
    specs = {
        region: read_spec(Path(entry.folder)) for region, entry in read_roster(roster_path(settings.checkpoint)).items()
    }
    points = 0
    with ExitStack() as stack:
        try:
            stack.enter_context(only_writer(settings.checkpoint))
            is_beside = False
        except CheckpointError:
            is_beside = True
        plan = plan_rebuild(settings.checkpoint, specs, span, is_beside=is_beside)
        topic = describe_topic(kafka, settings.topic)
        refuse_changes(guard, CheckpointGuard.of(settings, topic.id))
        _refuse_gone(plan.offsets, topic.first_offsets, settings.topic)
        sink = stack.enter_context(closing(open_sink(settings)))
        sink.check()
        reader = stack.enter_context(closing(TopicReader(kafka, settings.topic, plan.offsets)))
        masks = read_masks(settings.masks)
        recount = Recount(plan.frames, settings.checkpoint, settings.artifacts.absolute(), specs, masks)
        for done, batch in enumerate(plan.batches, start=1):
            if lines := recount.points(batch, reader.read(batch.offsets)):
                points += sink.write(lines).lines
            on_batch(done, len(plan.batches))
    return RebuildReport(frames=len(plan.frames), differing=recount.differing, points=points)


def plan_rebuild(checkpoint: Path, specs: Mapping[str, Spec], span: range, *, is_beside: bool) -> RebuildPlan:
    """What there is to do. Batches inside a tick overwrite each other's points, so only the last of each is written.

    is_beside: a job runs. Raises CheckpointError when the log has no score in the span.
    """
    batches: list[LoggedBatch] = []
    frames: dict[tuple[str, int], tuple[int, int]] = {}  # by region and tick: the batch, and how many to count up to it
    newest_tick_s: dict[str, int] = {}
    days = logged_days(checkpoint)
    for day in days:
        if not frames:
            batches.clear()
        for batch in logged_batches(checkpoint, day):
            batches.append(batch)
            for region, logged in batch.regions.items():
                tick_s = newest_tick_s[region] = tick_of(logged.as_of_s, specs.get(region))
                if tick_s in span and logged.scores:
                    frames[region, tick_s] = (batch.number, len(batches))
    if is_beside:
        for open_tick in newest_tick_s.items():
            frames.pop(open_tick, None)
    if not frames:
        raise CheckpointError(
            f"no score from {instant_text(span.start)} to {instant_text(span.stop)} is in the checkpoint's log of "
            f"batches, which {f'holds {days[0]} to {days[-1]}' if days else 'is empty'} and keeps {KEEP_DAYS} days",
            remedy="choose a --from and --to within it",
        )
    last = max(position for _, position in frames.values())
    return RebuildPlan(batches[:last], frozenset((number, region) for (region, _), (number, _) in frames.items()))


@dataclass(slots=True)
class _RegionNow:
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
    _joined: dict[str, Spec] = field(default_factory=dict)  # regions of the batches until now
    _regions: dict[str, _RegionNow] = field(default_factory=dict)
    _engines: dict[Path, FeatureEngine] = field(default_factory=dict)  # by artifact

    def points(self, batch: LoggedBatch, messages: Iterable[Messages]) -> bytes:
        """Count the batch; its scores that no later batch overwrote, as line protocol. Raises PipelineError."""
        regions = {region: logged for region, logged in batch.regions.items() if region != UNASSIGNED}
        self._joined |= {region: self.specs[region] for region in regions}
        decoded = [decode_messages(part, self._joined, now_ms=batch.at_ms, masks=self.masks) for part in messages]
        for region in {name for part in decoded for name in (*part.incidents, *part.rejections)} - batch.regions.keys():
            raise _differs(batch, region or "messages of no region", "messages that are not in the log")
        lines = bytearray()
        for region, logged in regions.items():
            now = self._regions.get(region) or self._opened(batch, region)
            self._regions[region] = now
            incidents = Incidents.concatenate([part.incidents[region] for part in decoded if region in part.incidents])
            refused = [rejection for part in decoded for rejection in part.rejections.get(region, ())]
            consumed = len(incidents) + len(refused)
            _, _, ledger = take_in(now.state, incidents, refused, as_of_s=logged.as_of_s, consumed=consumed)
            now.totals, now.batches = add_up(now.totals, ledger), now.batches + 1
            _compare(batch, region, logged, {"as_of": now.state.as_of_s, **now.totals})
            if now.batches % _EXPIRE_EVERY == 0:
                now.state.registry.expire(now.state.drop_before_s)
            if (batch.number, region) in self.frames:
                lines += b"".join(self._lines(region, logged, now.state, batch.top_k))
        return bytes(lines)

    def _lines(self, region: str, logged: LoggedRegion, state: CountState, top_k: int) -> Iterator[bytes]:
        folder = self.artifacts / region / logged.artifact
        artifact = load_artifact(str(folder))
        engine = self._engines.setdefault(folder, FeatureEngine(artifact.spec, artifact.constants))
        states = FollowerStates.of(self.checkpoint, region, logged.artifact)
        following = states.path(int(logged.following)) if logged.following else None
        frame = scored_frame(str(folder), engine.compute(state), state.as_of_s, following)
        self.differing += frame.digest() != logged.scores
        for view in stored_views(frame, artifact.constants):
            yield risk_lines(view)
            yield top_lines(view, top_k)
        yield unusual_lines(frame)

    def _opened(self, batch: LoggedBatch, region: str) -> _RegionNow:
        path = counts_path(batches_folder(self.checkpoint), batch.day, region)
        state, totals, _ = read_counts(path, self.specs[region])
        return _RegionNow(state, totals)


def _refuse_gone(needed: Mapping[int, tuple[int, int]], first: Mapping[int, int], topic: str) -> None:
    """Raise EventsGone when Kafka has deleted messages that the span's counts depend on, by partition."""
    gone = {p: (begin, min(end, first.get(p, end))) for p, (begin, end) in needed.items() if first.get(p, end) > begin}
    if gone:
        places = ", ".join(f"offsets {begin} to {end - 1} of partition {p}" for p, (begin, end) in sorted(gone.items()))
        raise EventsGone(
            f"Kafka no longer has {places} of {topic}, and the scores of that span depend on them",
            remedy="counting starts at the first batch of a day (UTC): choose a later --from, and lengthen the topic's "
            "retention",
        )


def _compare(batch: LoggedBatch, region: str, logged: LoggedRegion, counted: Mapping[str, int]) -> None:
    live = {"as_of": logged.as_of_s, **logged.totals}
    pairs = {name: (live.get(name, 0), counted.get(name, 0)) for name in {**live, **counted}}
    wrong = [f"{name} {was} live, {now} now" for name, (was, now) in pairs.items() if was != now]
    if wrong:
        raise _differs(batch, region, ", ".join(wrong))


def _differs(batch: LoggedBatch, region: str, how: str) -> PipelineError:
    return PipelineError(
        f"batch {batch.number} of {instant_text(batch.at_ms // 1000)} gives other counts than the job stored, in "
        f"{region} ({how}); nothing from that batch on was written",
        remedy="choose a --to before it, or a --from on a later day",
    )

"""The rebuild of a span from start to end: what is checked first, and who reads, counts and writes."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from models.artifact.artifact import read_spec
from schemas.errors import CheckpointError, EventsGone
from streaming.disk.guard import Guard, read_guard, refuse_changes
from streaming.disk.locks import only_writer
from streaming.instants import instant_text
from streaming.rebuild.batch_log import KEEP_DAYS, LoggedBatch, logged_days
from streaming.rebuild.plan import RebuildPlan, TimeSpan, plan_rebuild
from streaming.rebuild.recount import Recount
from streaming.roster.roster import read_roster
from streaming.settings import Settings
from streaming.sinks.contract import Sink
from streaming.sinks.open import open_sink
from streaming.topics.admin import describe_topic
from streaming.topics.client import KafkaConnection
from streaming.topics.reader import TopicReader

_WRITE_BYTES = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildReport:
    """What a rebuild took."""

    first_s: int  # time of the first point
    last_s: int
    frames: int  # ticks with scores, of all regions
    others: int  # of these, how many differ from what was written live
    regions: int
    events: int
    batches: int
    points: int


def rebuild_span(settings: Settings, span: TimeSpan, *, on_batch: Callable[[LoggedBatch, int], None]) -> RebuildReport:
    """Write the points of a span again. Reads the checkpoint and Kafka, changes neither; a job may run beside it.

    Raises CheckpointError when the log lacks the span, or a running job still writes in it, EventsGone when Kafka no
    longer has the events, ArtifactError when an artifact is gone, PipelineError when a batch comes out otherwise.
    """
    checkpoint = settings.checkpoint
    guard = read_guard(checkpoint)
    if guard is None:
        raise CheckpointError(
            f"RISK_CHECKPOINT={checkpoint} holds nothing yet: name the folder of the job's checkpoint"
        )
    specs = {region: read_spec(Path(entry.folder)) for region, entry in read_roster(checkpoint / "roster.json").items()}
    plan = plan_rebuild(checkpoint, specs, span, clock=guard.clock)
    if plan is None:
        days = logged_days(checkpoint)
        held = f"holds {days[0]} to {days[-1]}" if days else "is empty"
        raise CheckpointError(
            f"no score from {instant_text(span.from_s)} to {instant_text(span.to_s)} is in the checkpoint's log of "
            f"batches, which {held} and keeps {KEEP_DAYS} days: choose a --from and --to within it"
        )
    torch.set_num_threads(1)  # as in the job: the number of threads can change a sum's last bit
    with ExitStack() as stack:
        if plan.open_ticks:
            stack.enter_context(_no_job_beside(checkpoint, plan))
        rebuilt = Recount(plan=plan, checkpoint=checkpoint, artifacts=settings.artifacts, specs=specs)
        rebuilt.check_artifacts()
        topic = describe_topic(KafkaConnection.of(settings), settings.topic)
        refuse_changes(guard, Guard.of(settings, topic.id))
        _refuse_gone(plan.offsets, topic.first_offsets, settings.topic)
        sink = open_sink(settings)
        stack.callback(sink.close)
        sink.check()
        reader = stack.enter_context(TopicReader(KafkaConnection.of(settings), settings.topic, plan.offsets))
        out = _Gathered(sink)
        stack.callback(out.flush)
        for batch in plan.batches:
            out.add(rebuilt.points(batch, reader.read(batch.offsets)))
            on_batch(batch, len(plan.batches))
        out.flush()
    return RebuildReport(
        first_s=plan.first_s,
        last_s=plan.last_s,
        frames=len(plan.frames),
        others=rebuilt.others,
        regions=len({region for _, region in plan.frames}),
        events=sum(end - first for first, end in plan.offsets.values()),
        batches=len(plan.batches),
        points=out.points,
    )


@contextmanager
def _no_job_beside(checkpoint: Path, plan: RebuildPlan) -> Iterator[None]:
    """Hold the checkpoint's lock: a job that starts now would write in the last tick too, and in between."""
    with ExitStack() as stack:
        try:
            stack.enter_context(only_writer(checkpoint))
        except CheckpointError as error:
            region, tick_s = min(plan.open_ticks.items(), key=lambda item: item[1])
            raise CheckpointError(
                f"--to reaches into {instant_text(tick_s)}, which the running job may still write for "
                f"{region or 'messages of no region'}: choose that or an earlier --to, or stop the job"
            ) from error
        yield


def _refuse_gone(needed: Mapping[int, tuple[int, int]], first: Mapping[int, int], topic: str) -> None:
    """Raise EventsGone when Kafka has deleted messages that the span's counts rest on, by partition."""
    gone = {p: (begin, min(end, first.get(p, end))) for p, (begin, end) in needed.items() if first.get(p, end) > begin}
    if gone:
        places = ", ".join(f"offsets {begin} to {end - 1} of partition {p}" for p, (begin, end) in sorted(gone.items()))
        raise EventsGone(
            f"Kafka no longer has {places} of {topic}, on which the scores of that span rest: they cannot be made "
            "again. Counting starts at the first batch of a day (UTC): choose a later --from, and lengthen the topic's "
            "retention"
        )


class _Gathered:
    """Gathers points until a write is worth its request."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._parts: list[bytes] = []
        self._bytes = 0
        self.points = 0

    def add(self, lines: bytes) -> None:
        self._parts.append(lines)
        self._bytes += len(lines)
        if self._bytes >= _WRITE_BYTES:
            self.flush()

    def flush(self) -> None:
        lines, self._parts, self._bytes = b"".join(self._parts), [], 0
        if lines:
            self.points += self._sink.write(lines).lines

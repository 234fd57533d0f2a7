"""The rebuild of a span from start to end: what is checked first, and who reads, counts and writes."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch

from models.artifact.artifact import read_spec
from schemas.errors import CheckpointError, EventsGone
from streaming.disk.batch_log import KEEP_DAYS, LoggedBatch, logged_days
from streaming.disk.guard import Guard, read_guard, refuse_changes
from streaming.disk.locks import only_writer
from streaming.instants import instant_text
from streaming.rebuild.plan import RebuildPlan, plan_rebuild
from streaming.rebuild.recount import Recount
from streaming.roster.roster import read_roster
from streaming.settings import Settings
from streaming.sinks.open import open_sink
from streaming.topics.admin import describe_topic
from streaming.topics.client import KafkaConnection
from streaming.topics.reader import TopicReader

_WRITE_BYTES = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildReport:
    """What a rebuild did."""

    plan: RebuildPlan
    differing: int  # frames that are not equal to what was written live
    points: int


def prepare_rebuild(checkpoint: Path, artifacts: Path, span: range) -> tuple[Recount, Guard]:
    """What a rebuild of the span would count, found without Kafka or the store.

    Raises CheckpointError when the log lacks the span, ArtifactError when an artifact that it needs is gone.
    """
    guard = read_guard(checkpoint)
    if guard is None:
        raise CheckpointError(
            f"RISK_CHECKPOINT={checkpoint} is empty", remedy="set it to the folder of the job's checkpoint"
        )
    if guard.covariates_topic:
        raise CheckpointError(
            f"the job also reads {guard.covariates_topic}, and the log of batches does not say what of it each had",
            remedy="scores with outside series cannot be rebuilt: leave the gap",
        )
    specs = {region: read_spec(Path(entry.folder)) for region, entry in read_roster(checkpoint / "roster.json").items()}
    plan = plan_rebuild(checkpoint, specs, span, clock=guard.clock)
    if plan is None:
        days = logged_days(checkpoint)
        content = f"holds {days[0]} to {days[-1]}" if days else "is empty"
        raise CheckpointError(
            f"no score from {instant_text(span.start)} to {instant_text(span.stop)} is in the checkpoint's log of "
            f"batches, which {content} and keeps {KEEP_DAYS} days",
            remedy="choose a --from and --to within it",
        )
    recount = Recount(plan=plan, checkpoint=checkpoint, artifacts=artifacts, specs=specs)
    recount.check_artifacts()
    return recount, guard


def rebuild_span(settings: Settings, span: range, *, on_batch: Callable[[LoggedBatch, int], None]) -> RebuildReport:
    """Write the points of a span again. Reads the checkpoint and Kafka, changes neither; a job may run beside it.

    Raises what `prepare_rebuild` raises; CheckpointError also when a running job still writes in the span, EventsGone
    when Kafka no longer has the events, PipelineError when a batch gives other counts than the job stored.
    """
    recount, guard = prepare_rebuild(settings.checkpoint, settings.artifacts, span)
    plan, kafka = recount.plan, KafkaConnection.of(settings)
    torch.set_num_threads(1)  # as in the job: the number of threads can change a sum's last bit
    with _no_job_beside(settings.checkpoint, plan) if plan.open_ticks else nullcontext():
        topic = describe_topic(kafka, settings.topic)
        refuse_changes(guard, Guard.of(settings, topic.id))
        _refuse_gone(plan.offsets, topic.first_offsets, settings.topic)
        with closing(open_sink(settings)) as sink, closing(TopicReader(kafka, settings.topic, plan.offsets)) as reader:
            sink.check()
            points = sum(sink.write(lines).lines for lines in _gathered(recount, reader, on_batch))
    return RebuildReport(plan=plan, differing=recount.differing, points=points)


def _gathered(recount: Recount, reader: TopicReader, on_batch: Callable[[LoggedBatch, int], None]) -> Iterator[bytes]:
    """The points of all batches, in portions that are worth a request to the store."""
    lines = bytearray()
    try:
        for batch in recount.plan.batches:
            lines += recount.points(batch, reader.read(batch.offsets))
            if len(lines) >= _WRITE_BYTES:
                yield bytes(lines)
                lines.clear()
            on_batch(batch, len(recount.plan.batches))
    except (Exception, KeyboardInterrupt):
        if lines:  # those before the batch that failed are right
            yield bytes(lines)
        raise
    if lines:
        yield bytes(lines)


@contextmanager
def _no_job_beside(checkpoint: Path, plan: RebuildPlan) -> Iterator[None]:
    """Hold the checkpoint's lock: a job that starts now would also write into the last tick."""
    with ExitStack() as stack:
        try:
            stack.enter_context(only_writer(checkpoint))
        except CheckpointError as error:
            region, tick_s = min(plan.open_ticks.items(), key=lambda item: item[1])
            raise CheckpointError(
                f"--to includes {instant_text(tick_s)}, which the running job may still write for "
                f"{region or 'messages of no region'}",
                remedy="choose that or an earlier --to, or stop the job",
            ) from error
        yield


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

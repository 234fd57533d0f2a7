"""What shifts say of the scores: marks, sent to Kafka and kept in the store, never a label for the counts.

The position in the topic moves only when the marks are kept.
"""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Event
from typing import Annotated, Any

import msgspec
import typer
from kafka import KafkaConsumer
from kafka.errors import KafkaError

from schemas.decode import MARKS, Feedback, decode_feedback
from schemas.errors import DataError
from schemas.event import Reason
from schemas.incidents import Rejection
from schemas.spec import ALL_CATEGORIES, SLUG, Spec
from streaming.kafka import DeadLetters, KafkaConnection, broker_error, producer_of, refuse_unreachable, topic_faults
from streaming.settings import Settings, stop_on_signals
from streaming.sinks.line_protocol import point_line
from streaming.sinks.sink import Sink, open_sink

feedback_app = typer.Typer(no_args_is_help=True, help="What shifts say of the scores, never a label for the counts.")
GROUP = "incident-risk-feedback"
_MOST = 1000  # messages that are kept together
_PATIENCE_S = 10.0  # for one that is sent


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackStore:
    """Where marks go. specs: the regions that are scored now."""

    sink: Sink
    dead_letters: DeadLetters
    specs: Callable[[], Mapping[str, Spec]]
    now_s: Callable[[], float] = time.time

    def keep(self, records: Sequence[Any]) -> tuple[int, int]:
        """Keep the marks of Kafka's records: how many were taken, and how many refused. Repeating it is harmless."""
        specs, now_s = self.specs(), self.now_s()
        lines, refused = [], dict[str, list[Rejection]]()
        for record in records:
            mark = decode_feedback(record.value)
            if isinstance(mark, Feedback):
                fault = fault_of(mark, specs, now_s)
                if fault is None:
                    lines.append(mark_line(mark))
                    continue
                region, payload = mark.region if mark.region in specs else "", record.value
            else:  # it may be about a person, whatever its reason: its bytes are not kept
                fault, region, payload = mark, "", None
            place = (record.partition, record.offset, record.timestamp)
            refused.setdefault(region, []).append(Rejection(*fault, *place, payload))
        self.dead_letters.write(refused)
        if lines:
            self.sink.write(b"".join(lines))
        return len(lines), sum(map(len, refused.values()))


def keep_feedback(
    kafka: KafkaConnection, topic: str, store: FeedbackStore, *, stop: Event, follow: bool
) -> tuple[int, int]:
    """Keep what the topic holds after the position of GROUP: until `stop` is set, or with `follow` off, its end.

    Gives how many marks were taken and refused. Raises BrokerError, and what the store raises.
    """
    refuse_unreachable(kafka.bootstrap)
    taken = refused = 0
    try:
        consumer = KafkaConsumer(
            topic,
            group_id=GROUP,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            max_poll_records=_MOST,
            metrics_enabled=False,
            bootstrap_timeout_ms=10_000,
            **kafka.client_options(),
        )
        try:
            while not stop.is_set():
                records = [record for part in consumer.poll(timeout_ms=1000).values() for record in part]
                if records:
                    new_taken, new_refused = store.keep(records)
                    taken, refused = taken + new_taken, refused + new_refused
                    consumer.commit()
                elif not follow and (places := list(consumer.assignment())):
                    ends = consumer.end_offsets(places)
                    if all(consumer.position(place) >= end for place, end in ends.items()):
                        break
        finally:
            consumer.close(autocommit=False)
    except KafkaError as error:
        raise broker_error(error, kafka) from error
    return taken, refused


def fault_of(mark: Feedback, specs: Mapping[str, Spec], now_s: float) -> tuple[Reason, str] | None:
    """Why a well-formed mark is refused; None when it is taken. A reason never repeats a value."""
    spec = specs.get(mark.region)
    if spec is None:
        return "unknown_region", "no artifact scores this region"
    if mark.category not in (ALL_CATEGORIES, *spec.categories):
        return "unknown_category", "the region's spec has no such category"
    if mark.horizon not in spec.horizon_names:
        return "schema", f"horizon is not one of {', '.join(spec.horizon_names)}"
    if not re.fullmatch(SLUG, mark.desk):  # the contract's pattern lets a line break at the end pass
        return "schema", "desk is no slug"
    if mark.cell not in spec.grid.cell_ids():  # each cell has one id, and so one point
        return "outside_grid", "the region's grid has no such cell"
    if mark.at.timestamp() < 0:  # a store knows no time long before
        return "bad_time", "at is before 1970"
    if mark.at.timestamp() > now_s + spec.future_limit_s:
        return "future", f"more than {spec.future_limit_s} s ahead of its arrival"
    return None


def mark_line(mark: Feedback) -> bytes:
    """The mark as line protocol at the time of the scores that are meant; sent again it is the same point."""
    tags = {name: getattr(mark, name) for name in ("category", "cell", "desk", "horizon", "mark", "region")}
    return point_line("feedback", tags, {"marks": 1}, int(mark.at.timestamp()))


def send_mark(mark: Feedback, kafka: KafkaConnection, topic: str) -> None:
    """Returns when Kafka has stored it. Raises BrokerError."""
    if faults := topic_faults(kafka, {topic: "WRITE"}):
        raise faults[topic]
    try:
        producer = producer_of(kafka, patience_s=_PATIENCE_S)
        try:
            producer.send(topic, key=mark.cell.encode(), value=msgspec.json.encode(mark)).get(timeout=_PATIENCE_S)
        finally:
            producer.close(timeout=5)
    except KafkaError as error:
        raise broker_error(error, kafka) from error


@feedback_app.command("send")
def send_command(
    context: typer.Context,
    region: Annotated[str, typer.Option(help="Region of the cell")],
    cell: Annotated[str, typer.Option(help="Cell id as on the map: r012c034")],
    mark: Annotated[str, typer.Option(help=", ".join(MARKS))],
    desk: Annotated[str, typer.Option(help="Slug of the desk or unit; never of a person")],
    at: Annotated[str, typer.Option(help="Time of the scores, with an offset; default: now")] = "",
    category: Annotated[str, typer.Option(help="A category, or all")] = ALL_CATEGORIES,
    horizon: Annotated[str, typer.Option(help="As 4h")] = "4h",
) -> None:
    """Send one mark to the topic RISK_FEEDBACK_TOPIC."""
    settings: Settings = context.obj()
    fields = {
        "region": region,
        "cell": cell,
        "at": at or datetime.now(UTC).isoformat(timespec="seconds"),
        "mark": mark,
        "desk": desk,
        "category": category,
        "horizon": horizon,
    }
    decoded = decode_feedback(msgspec.json.encode(fields))
    if not isinstance(decoded, Feedback):
        raise DataError(f"this is no mark ({decoded[0]}: {decoded[1]})", "see --help")
    send_mark(decoded, KafkaConnection.of(settings), settings.feedback_topic)
    typer.echo(f"{region}, cell {cell}: {mark} is sent to {settings.feedback_topic}")


@feedback_app.command("store")
def store_command(
    context: typer.Context,
    once: Annotated[bool, typer.Option("--once", help="End at the topic's end")] = False,
) -> None:
    """Keep the topic's marks in the store (RISK_SINK). Refused ones go to the dead-letter topic."""
    settings: Settings = context.obj()
    letters = DeadLetters(settings, source_topic=settings.feedback_topic)
    with closing(letters) as dead_letters, closing(open_sink(settings)) as sink:
        sink.check()
        store = FeedbackStore(sink=sink, dead_letters=dead_letters, specs=partial(specs_of, settings.artifacts))
        kafka, stop = KafkaConnection.of(settings), stop_on_signals()
        taken, refused = keep_feedback(kafka, settings.feedback_topic, store, stop=stop, follow=not once)
    typer.echo(f"{taken} marks kept, {refused} refused")


def specs_of(artifacts: Path) -> dict[str, Spec]:
    """Region -> spec of the artifact that would score it.

    Raises ArtifactError for a damaged artifact or pointer: a mark of that region is good, and would be refused.
    """
    from models.artifact import candidates_by_region, read_spec  # torch: seconds that `send` saves

    choices = candidates_by_region(artifacts)
    if fault := next((choice.fault for choice in choices.values() if choice.fault), None):
        raise fault
    return {region: read_spec(choice.folders[0]) for region, choice in choices.items() if choice.folders}

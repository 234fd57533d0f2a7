"""The `feedback` commands: marks of shifts, sent and kept."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from schemas.errors import DataError
from schemas.feedback import MARKS, Feedback, decode_feedback
from schemas.spec import ALL_CATEGORIES
from streaming.cli.process import stop_on_signals
from streaming.settings import Settings

if TYPE_CHECKING:
    from schemas.spec import Spec

feedback_app = typer.Typer(no_args_is_help=True, help="What shifts say of the scores, never a label for the counts.")


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
    from streaming.feedback.store import send_mark  # Kafka's client: a second that other commands save
    from streaming.topics.kafka import KafkaConnection

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
    from contextlib import closing
    from dataclasses import replace
    from functools import partial

    from streaming.feedback.store import FeedbackStore, keep_feedback
    from streaming.sinks.sink import open_sink
    from streaming.topics.dead_letters import DeadLetters
    from streaming.topics.kafka import KafkaConnection

    settings: Settings = context.obj()
    letters = replace(DeadLetters.of(settings), source_topic=settings.feedback_topic)
    with closing(letters) as dead_letters, closing(open_sink(settings)) as sink:
        sink.check()
        store = FeedbackStore(sink=sink, dead_letters=dead_letters, specs=partial(specs_of, settings.artifacts))
        kafka, stop = KafkaConnection.of(settings), stop_on_signals()
        taken, refused = keep_feedback(kafka, settings.feedback_topic, store, stop=stop, follow=not once)
    typer.echo(f"{taken} marks kept, {refused} refused")


def specs_of(artifacts: Path) -> "dict[str, Spec]":
    """Region -> spec of the artifact that would score it.

    Raises ArtifactError for a damaged artifact or pointer: a mark of that region is good, and would be refused.
    """
    from models.artifact.artifact import read_spec
    from models.artifact.pointer import candidates_by_region

    choices = candidates_by_region(artifacts)
    if fault := next((choice.fault for choice in choices.values() if choice.fault), None):
        raise fault
    return {region: read_spec(choice.folders[0]) for region, choice in choices.items() if choice.folders}

"""What would become of messages: the decoder, an artifact's counts and the clock, without Kafka, Spark or a store."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from models.artifact.artifact import Artifact
from schemas.decode import Messages, Vocabulary, decode_messages
from schemas.incidents import COUNTED_ORIGIN, Incidents
from streaming.flow.count import take_in
from streaming.flow.ledger import UNASSIGNED


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of a message. place: where it stood, for a person. outcome: as in the ledger, or a reject reason."""

    place: str
    region: str  # "" for messages of no known region
    outcome: str
    detail: str
    is_refused: bool


def foresee(
    messages: Iterable[tuple[str, bytes]], artifacts: Mapping[str, Artifact], *, now_s: float
) -> Iterator[Answer]:
    """One message after the other, as if they came to a job that has just begun with these artifacts.

    messages: (place, value). artifacts: by region.
    """
    vocabularies = {region: Vocabulary.of(artifact.spec) for region, artifact in artifacts.items()}
    states = {region: artifact.history() for region, artifact in artifacts.items()}
    for number, (place, message) in enumerate(messages):
        decoded = decode_messages(_alone(message, number, now_s), vocabularies, now_ms=int(now_s * 1000))
        region = next(iter({**decoded.incidents, **decoded.rejections}), UNASSIGNED)
        refused = decoded.rejections.get(region, [])
        outcome, detail = "", ""
        if not refused:
            incidents = decoded.incidents[region]
            _, refused, ledger = take_in(states[region], incidents, [], as_of_s=int(now_s), consumed=1)
            outcome = next(name for name, count in ledger.items() if count and name != "consumed")
            detail = _why_excluded(incidents) if outcome == "excluded" else ""
        if refused:
            outcome, detail = refused[0].reason, refused[0].detail
        yield Answer(place=place, region=region, outcome=outcome, detail=detail, is_refused=bool(refused))


def _alone(message: bytes, number: int, at_s: float) -> Messages:
    return Messages(
        values=[message],
        partition=np.zeros(1, np.int32),
        kafka_offset=np.array([number], np.int64),
        kafka_time_ms=np.array([int(at_s * 1000)], np.int64),
    )


def _why_excluded(incident: Incidents) -> str:
    if not incident.flags[0] & COUNTED_ORIGIN:
        return "its origin is one that the region does not count"
    return "it happened before the artifact's data end: its count is in them"

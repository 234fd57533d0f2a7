"""The `check` command: what a job would do with messages, found without Kafka, Spark or a store."""

import codecs
import json
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from schemas.areas import NO_MASKS, Masks, read_masks
from schemas.decode import EVENT, Messages, decode_messages, personal_keys
from schemas.errors import DataError
from schemas.incidents import COUNTED_ORIGIN
from streaming.flow.rows import UNASSIGNED
from streaming.settings import Settings

if TYPE_CHECKING:
    from models.artifact import Artifact
    from schemas.spec import Spec

_SHOWN = 20
_LONGEST_NAME = 40
_BYTE_ORDER_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the job would do with a message."""

    place: str  # where the message was read, for a person
    region: str  # "" for a message of no known region
    outcome: str  # as in the ledger, or the reason of a refusal
    detail: str
    is_refused: bool


def check(
    context: typer.Context,
    files: Annotated[
        list[Path],
        typer.Argument(help="NAME.json: one message. Other files, or - for the standard input: one message per line"),
    ],
    show_all: Annotated[bool, typer.Option("--all", help=f"Show more than the first {_SHOWN}")] = False,
) -> None:
    """Show what a job with these RISK_ARTIFACTS would do with each message. Exit code 3 when it would refuse one."""
    from models.artifact import candidates_by_region, champion_of  # slow, and every command imports this file

    settings: Settings = context.obj()
    artifacts = {region: champion_of(settings.artifacts, region) for region in candidates_by_region(settings.artifacts)}
    if not artifacts:
        raise DataError(f"{settings.artifacts} is empty", "train a model, or set RISK_ARTIFACTS to another folder")
    messages = [message for file in files for message in _messages(file)]
    if not messages:
        raise DataError(f"there is no message in {', '.join(map(str, files))}", "write one message per line")
    answers = list(dry_run(messages, artifacts, now_s=time.time(), masks=read_masks(settings.masks)))
    console = Console(highlight=False)
    unusual = [answer for answer in answers if answer.is_refused or answer.detail]
    if unusual:
        console.print(_table(unusual if show_all else unusual[:_SHOWN]))
    if len(unusual) > _SHOWN and not show_all:
        console.print(f"... and {len(unusual) - _SHOWN:,} more: --all shows them")
    outcomes = Counter("refused" if answer.is_refused else answer.outcome for answer in answers)
    counts = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(outcomes.items()))
    noun = "message" if len(answers) == 1 else "messages"
    console.print(f"{len(answers):,} {noun}, by the artifacts of {', '.join(sorted(artifacts))}: {counts}")
    if outcomes["refused"]:
        raise typer.Exit(DataError.exit_code)


def dry_run(
    messages: Iterable[tuple[str, bytes]],
    artifacts: "Mapping[str, Artifact]",
    *,
    now_s: float,
    masks: Masks = NO_MASKS,
) -> Iterator[Answer]:
    """What a job that has just started with these artifacts would do with each message.

    messages: (place, value). artifacts: by region. Raises ArtifactError when they have other masks.
    """
    from streaming.flow.intake import take_in  # as above

    specs = {region: artifact.spec for region, artifact in artifacts.items()}
    states = {region: artifact.history() for region, artifact in artifacts.items()}
    for number, (place, message) in enumerate(messages):
        alone = Messages.of(
            [message],
            partition=np.zeros(1, np.int32),
            kafka_offset=np.array([number], np.int64),
            kafka_time_ms=np.array([int(now_s * 1000)], np.int64),
        )
        decoded = decode_messages(alone, specs, now_ms=int(now_s * 1000), masks=masks)
        region = next(iter({**decoded.incidents, **decoded.rejections}), UNASSIGNED)
        refused = decoded.rejections.get(region, [])
        outcome, detail = "", ""
        if not refused:
            incidents = decoded.incidents[region]
            _, refused, ledger = take_in(states[region], incidents, [], as_of_s=int(now_s), consumed=1)
            outcome = next(name for name, count in ledger.items() if count and name != "consumed")
            if outcome == "excluded" and incidents.flags[0] & COUNTED_ORIGIN:
                detail = "it happened before the artifact's data end, so the artifact has counted it"
            elif outcome == "repeated":
                detail = "a call within 200 m and 15 minutes before it has reported the same"
            elif outcome == "excluded":
                detail = "the region does not count its origin" + ", or its place is masked" * bool(masks.polygons)
        if refused:
            names = _names_in(message, refused[0].reason, specs.get(region))
            outcome, detail = refused[0].reason, ": ".join(filter(None, (refused[0].detail, names)))
        yield Answer(place=place, region=region, outcome=outcome, detail=detail, is_refused=bool(refused))


def _names_in(message: bytes, reason: str, spec: "Spec | None") -> str:
    """The names for which a message is refused, each with the nearest that is known. The job keeps none of them.

    Or what else a producer cannot see: a byte order mark.
    """
    if reason == "not_json" and message.startswith(_BYTE_ORDER_MARKS):
        return "it begins with a byte order mark: write UTF-8 without one (in Python `utf-8`, not `utf-8-sig`)"
    if reason == "person_field":
        return ", ".join(map(_short, personal_keys(message)))
    if reason == "unknown_field":
        return ", ".join(
            _with_nearest(name, EVENT.fields) for name in sorted(json.loads(message).keys() - EVENT.fields)
        )
    if reason == "unknown_category" and spec:
        return _with_nearest(json.loads(message)["category"], spec.categories)
    return ""


def _with_nearest(name: str, known: Iterable[str]) -> str:
    nearest = get_close_matches(slug := name.strip().lower(), list(known), 1)
    if nearest == [slug]:
        return f"{_short(name)} (write exactly {slug}: lower case, without spaces)"
    return f"{_short(name)} (perhaps {nearest[0]})" if nearest else _short(name)


def _short(name: str) -> str:
    return repr(name[:_LONGEST_NAME])


def _messages(file: Path) -> Iterator[tuple[str, bytes]]:
    try:
        content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror})", "name a file with messages") from error
    if file.suffix == ".json":
        yield file.name, content
    elif content:
        for number, line in enumerate(content.removesuffix(b"\n").split(b"\n"), 1):
            yield f"line {number:,}" if str(file) == "-" else f"{file.name}:{number}", line


def _table(answers: list[Answer]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("message", "region", "outcome", "reason"):
        table.add_column(column, overflow="fold")
    for answer in answers:
        outcome = Text(answer.outcome, "bold red" if answer.is_refused else "")
        table.add_row(Text(answer.place), Text(answer.region or "-"), outcome, Text(answer.detail))
    return table

"""The `check` command."""

import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from schemas.errors import DataError
from streaming.settings import Settings

if TYPE_CHECKING:
    from streaming.cli.check_messages import Answer

_SHOWN = 20


def check(
    context: typer.Context,
    files: Annotated[list[Path], typer.Argument(help="NAME.json: one message; other files, or -: a message a line")],
) -> None:
    """Say of each message what a job with the artifacts in RISK_ARTIFACTS would do. Exit code 3 if one is refused."""
    from models.artifact.artifact import (  # `health` imports this file, and has no time for it
        newest_artifacts,
        read_artifact,
    )
    from streaming.cli.check_messages import foresee

    settings: Settings = context.obj
    artifacts = {region: read_artifact(folders[0]) for region, folders in newest_artifacts(settings.artifacts).items()}
    if not artifacts:
        raise DataError(f"{settings.artifacts} is empty: train a model, or name another folder by RISK_ARTIFACTS")
    messages = [message for file in files for message in _messages(file)]
    if not messages:
        raise DataError(f"{', '.join(map(str, files))}: there is no message; write one a line")
    answers = list(foresee(messages, artifacts, now_s=time.time()))
    console = Console(highlight=False)
    refused = [one for one in answers if one.is_refused]
    unusual = [one for one in answers if one.is_refused or one.detail]
    if unusual:
        console.print(_table(unusual[:_SHOWN]))
    if len(unusual) > _SHOWN:
        console.print(f"... and {len(unusual) - _SHOWN:,} more")
    outcomes = Counter("refused" if one.is_refused else one.outcome for one in answers)
    told = ", ".join(f"{count:,} {outcome}" for outcome, count in sorted(outcomes.items()))
    noun = "message" if len(answers) == 1 else "messages"
    console.print(f"{len(answers):,} {noun} for {', '.join(sorted(artifacts))}: {told}")
    if refused:
        raise typer.Exit(DataError.exit_code)


def _messages(file: Path) -> Iterator[tuple[str, bytes]]:
    try:
        content = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}): name a file with messages") from error
    if file.suffix == ".json":
        yield file.name, content
    elif content:
        for number, line in enumerate(content.removesuffix(b"\n").split(b"\n"), 1):
            yield f"line {number:,}" if str(file) == "-" else f"{file.name}:{number}", line


def _table(answers: "list[Answer]") -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("message", "region", "outcome", "why"):
        table.add_column(column, overflow="fold")
    for one in answers:
        style = "bold red" if one.is_refused else ""
        table.add_row(escape(one.place), escape(one.region) or "-", Text(one.outcome, style), escape(one.detail))
    return table

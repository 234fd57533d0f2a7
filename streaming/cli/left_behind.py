"""The commands that show what the job leaves: `health`, `checkpoint` and `audit`. `checkpoint` also resets it.

`withhold` leaves word for the job: that nobody may see its scores.
"""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from schemas.audit.log import AuditEvent, head_path, kept_head, record
from schemas.audit.verify import Verdict, read_log, verify
from schemas.errors import AuditError, SettingsError
from schemas.files import replace_file, write_errors
from schemas.instants import instant_ms, instant_text, stamp
from schemas.left_behind.health import health_path
from schemas.left_behind.roster import read_roster, roster_path
from schemas.left_behind.withheld import LONGEST, Withheld, read_withheld, withheld_path
from streaming.cli.process import who_decides
from streaming.disk.checkpoint import (
    CheckpointGuard,
    begin_ms,
    kept_in,
    last_commit,
    only_writer,
    progress_text,
    read_guard,
    read_until,
    set_aside,
    unfinished_reset,
)
from streaming.settings import Settings
from streaming.watch.health import in_words, read_health, watch_in_words

_TIME = "%Y-%m-%d %H:%M:%SZ"


def health(context: typer.Context) -> None:
    """Show whether the job's scores can be relied on now, or why not. Exit code 0 when ready, 1 when not."""
    settings: Settings = context.obj()
    now = datetime.now(UTC)
    report, reason = read_health(settings.checkpoint, now)
    for line in in_words(report, reason, now):
        typer.echo(line)
    for line in watch_in_words(settings.checkpoint, now):
        typer.echo(line)
    if reason:
        raise typer.Exit(1)


def checkpoint(
    context: typer.Context,
    reset: Annotated[
        str | None,
        typer.Option(help="Start again at this moment of the topic: `earliest`, `latest`, or 2026-11-25T06:00:00Z"),
    ] = None,
) -> None:
    """Print what the job has read and counted so far: topic, clock, artifacts and offsets.

    After a reset, counts come from the artifacts' history and the events since that moment.
    """
    settings: Settings = context.obj()
    if reset is not None:
        _reset(settings, reset)
        return
    table = Table(box=None, show_header=False, pad_edge=False)
    for row in _progress(settings):
        table.add_row(*row)
    Console(highlight=False).print(table)


def _progress(settings: Settings) -> Iterator[tuple[str, str]]:
    folder = settings.checkpoint
    yield "folder", str(folder)
    if unfinished := unfinished_reset(folder):
        yield "reset", f"interrupted ({unfinished.name}): the next `run` or `checkpoint --reset` finishes it"
    if guard := read_guard(folder):
        yield from _last_run(guard, settings.shown())
    from_ms = begin_ms(folder)
    if from_ms is not None:
        yield "starts at", instant_text(from_ms / 1000)
    for region, entry in read_roster(roster_path(folder)).items():
        yield f"region {region}", f"artifact {entry.version}, spec {entry.fingerprint}"
    commit = last_commit(folder)
    age = f", {time.time() - commit[1]:,.0f} s ago" if commit else ""
    yield "last batch", progress_text(commit) + age
    if commit:
        read = ", ".join(f"{partition}: {offset:,}" for partition, offset in sorted(read_until(folder).items()))
        yield "read up to", f"offset by partition {read}"


def _last_run(guard: CheckpointGuard, shown: dict[str, str]) -> Iterator[tuple[str, str]]:
    yield "topic", f"{guard.topic} (id {guard.topic_id})"
    yield "clock", guard.clock
    yield "state partitions", str(guard.shuffle_partitions)
    yield "written by", f"Spark {guard.spark}, counts in layout {guard.state_layout}"
    others = [
        f"{name} was {was or 'not set'}, now {shown[name] or 'not set'}"
        for name, was in guard.settings.items()
        if name in shown and was != shown[name]
    ]
    yield "last run", "; ".join(others) or "had the present settings"


def _reset(settings: Settings, moment: str) -> None:
    now_s = time.time()
    from_ms = instant_ms(moment, option="--reset", now_s=now_s)
    with only_writer(settings.checkpoint):
        details = {"checkpoint": str(settings.checkpoint.absolute()), "from": moment}
        record(settings.audit, "checkpoint_reset", details, at_s=now_s, checkpoint=settings.checkpoint)
        old = set_aside(settings.checkpoint, stamp(now_s), from_ms=from_ms)
        health_path(settings.checkpoint).unlink(missing_ok=True)  # it describes the job before
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"the next run starts at {moment} of {settings.topic}; {kept_in(old)}")


def withhold(
    context: typer.Context,
    because: Annotated[str, typer.Argument(help="Why, in a sentence that every page shows")] = "",
    end: Annotated[bool, typer.Option("--end", help="Show the scores again")] = False,
) -> None:
    """Withhold all scores, on record: the service at once, the job from its next batch on. It goes on counting."""
    settings: Settings = context.obj()
    if end == bool(because.strip()):
        raise SettingsError("nothing to do", 'say why as `withhold "REASON"`, or end it with `withhold --end`')
    reason = "".join(letter if letter.isprintable() else " " for letter in " ".join(because.split()))
    if len(reason) > LONGEST:
        raise SettingsError(f"a reason of {len(reason)} characters", f"give at most {LONGEST}: every page shows it")
    is_new = not settings.frames.is_dir()
    now_s, before, path = time.time(), read_withheld(settings.frames), withheld_path(settings.frames)
    if end and before is None:
        typer.echo(f"scores are not withheld in {settings.frames}")
        return
    details = {"because": reason, "before": before.in_words() if before else "shown", "by": who_decides(settings)}
    event: AuditEvent = "scores_shown_again" if end else "scores_withheld"
    record(settings.audit, event, details, at_s=now_s, checkpoint=settings.checkpoint)
    with write_errors(SettingsError, path, remedy="make the folder writable for who runs `withhold`"):
        if end:
            path.unlink(missing_ok=True)
            typer.echo("scores are shown again, from the job's next minute on")
            return
        withheld = Withheld(since_s=(before and before.since_s) or int(now_s), because=reason)
        replace_file(path, msgspec.json.encode(withheld) + b"\n")
    typer.echo(f"{withheld.in_words()}; `withhold --end` shows them again")
    if is_new:
        typer.echo(f"{settings.frames} is new: job and service must have the same RISK_FRAMES")


def audit(
    context: typer.Context,
    head: Annotated[str | None, typer.Option(help="A head noted earlier: the log must still contain it")] = None,
    last: Annotated[int, typer.Option(min=0, help="How many of the newest records to print")] = 20,
) -> None:
    """Print the log's newest records, and check that no line was edited, removed or moved. Exit code 10 when one was.

    The log must also contain the head that is kept beside the checkpoint, if that is a head of this file.
    """
    settings: Settings = context.obj()
    log, head_file = settings.audit, head_path(settings.checkpoint)
    own_head = kept_head(settings.checkpoint, log)  # read before the log, which may grow meanwhile
    heads = {name: value for name, value in ((f"the head in {head_file}", own_head), ("the given head", head)) if value}
    compared = f"compared with {' and '.join(heads) or f'no head, as {head_file} has none of this file'}"
    verdict = verify(read_log(log), heads=heads.values())
    console = Console(highlight=False, soft_wrap=True)
    _show_records(console, verdict, last)
    if verdict.faults:
        fault = f"the audit log {log} was changed: {'; '.join(verdict.faults)} ({compared})"
        raise AuditError(fault, remedy="restore it from a copy, and find out who can write it")
    if not verdict.records:
        fault = f"the audit log {log} holds no record: it was emptied, or the disk was full at its first ({compared})"
        raise AuditError(fault, remedy="verify a copy, with a head that was noted elsewhere")
    unknown = "" if heads else "; only a head can show whether the last records were removed"
    console.print(
        f"{log}: {len(verdict.records)} records, from {verdict.records[0].at:{_TIME}} to "
        f"{verdict.records[-1].at:{_TIME}}, chain unbroken{unknown}"
    )
    console.print(f"head {verdict.head}")
    console.print(compared + (", found" if heads else ""))
    if head is None:
        only_here = "nothing else shows that last lines are gone"
        why = f"who changes the log may change {head_file} too" if own_head else only_here
        console.print(f"note the head elsewhere, for `--head`: {why}")


def _show_records(console: Console, verdict: Verdict, last: int) -> None:
    for entry in verdict.records[-last:] if last else ():
        details = ", ".join(f"{name}={_text(value)}" for name, value in entry.details.items() if value != "")
        console.print(escape(f"{entry.sequence} {entry.at:{_TIME}} {entry.event}: {details}"))
    for line in verdict.torn:
        console.print(line)


def _text(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()

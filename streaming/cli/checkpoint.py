"""The commands `checkpoint show` and `checkpoint reset`."""

import time
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from schemas.audit_log import record
from schemas.left_behind.health import health_path
from streaming.disk.guard import read_guard
from streaming.disk.locks import only_writer
from streaming.disk.reset import begin_ms, kept_in, set_aside, unfinished_reset
from streaming.disk.spark_files import last_commit, progress_text, read_until
from streaming.instants import instant_ms, instant_text
from streaming.roster.roster import read_roster
from streaming.settings import Settings

checkpoint_app = typer.Typer(
    no_args_is_help=True, help="What the job has read and counted so far, and how to start again."
)


@checkpoint_app.command("show")
def show(context: typer.Context) -> None:
    """Print topic, clock, artifacts, and what has been read so far."""
    settings: Settings = context.obj
    folder = settings.checkpoint
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_row("folder", str(folder))
    if unfinished := unfinished_reset(folder):
        table.add_row("reset", f"interrupted ({unfinished.name}): the next `run` or `checkpoint reset` finishes it")
    guard = read_guard(folder)
    if guard:
        table.add_row("topic", f"{guard.topic} (id {guard.topic_id})")
        table.add_row("clock", guard.clock)
        table.add_row("state partitions", str(guard.shuffle_partitions))
        table.add_row("written by", f"Spark {guard.spark}, counts in layout {guard.state_layout}")
        shown = settings.shown()
        others = [
            f"{name} was {was or 'not set'}, now {shown[name] or 'not set'}"
            for name, was in guard.settings.items()
            if name in shown and was != shown[name]
        ]
        table.add_row("last run", "; ".join(others) or "had the present settings")
    from_ms = begin_ms(folder)
    if from_ms is not None:
        table.add_row("starts at", instant_text(from_ms / 1000))
    for region, entry in read_roster(folder / "roster.json").items():
        table.add_row(f"region {region}", f"artifact {entry.version}, spec {entry.fingerprint}")
    commit = last_commit(folder)
    age = f", {time.time() - commit[1]:,.0f} s ago" if commit else ""
    table.add_row("last batch", progress_text(commit) + age)
    if commit:
        read = ", ".join(f"{partition}: {offset:,}" for partition, offset in sorted(read_until(folder).items()))
        table.add_row("read up to", f"offset by partition {read}")
    Console(highlight=False).print(table)


@checkpoint_app.command("reset")
def reset(
    context: typer.Context,
    from_: Annotated[
        str, typer.Option("--from", help="`earliest`, `latest`, or a time with an offset: 2026-11-25T06:00:00Z")
    ],
) -> None:
    """Start again at a time of the topic. Counts then come from the artifacts' history and the events since then."""
    settings: Settings = context.obj
    now_s = time.time()
    from_ms = instant_ms(from_, option="--from", now_s=now_s)
    with only_writer(settings.checkpoint):
        details = {"checkpoint": str(settings.checkpoint.absolute()), "from": from_}
        record(settings.audit, "checkpoint_reset", details, at_s=now_s, checkpoint=settings.checkpoint)
        stamp = datetime.fromtimestamp(now_s, UTC).strftime("%Y%m%dT%H%M%SZ")
        old = set_aside(settings.checkpoint, stamp, from_ms=from_ms)
        health_path(settings.checkpoint).unlink(missing_ok=True)  # it describes the job before
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"the next run starts at {from_} of {settings.topic}; {kept_in(old)}")
    if old and (old / "spark").exists():
        console.print(
            f"with RISK_CHECKPOINT={old}, `rebuild` writes scores of the time before; remove the folder when you no "
            "longer need it"
        )

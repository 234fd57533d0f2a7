"""The `rebuild` command: scores of a span into the store once more, after the store lost them."""

import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from streaming.disk.audit import record
from streaming.instants import instant_ms, instant_text
from streaming.settings import Settings

if TYPE_CHECKING:
    from streaming.rebuild.batch_log import LoggedBatch


def rebuild(
    context: typer.Context,
    from_: Annotated[str, typer.Option("--from", help="First moment: `earliest`, or a time: 2026-11-25T06:00:00Z")],
    to: Annotated[str, typer.Option("--to", help="End, not included: `latest` (now), or a time with an offset")],
    sink: Annotated[str | None, typer.Option(help="`influxdb` or `file:PATH`; default: RISK_SINK")] = None,
) -> None:
    """Write the scores of a span again, from Kafka and the checkpoint's log: equal to what was written live."""
    from streaming.rebuild.job import rebuild_span  # pyspark and torch: seconds that other commands save
    from streaming.rebuild.plan import TimeSpan

    asked: Settings = context.obj
    settings, now_s, started = asked.with_options(sink=sink), time.time(), time.monotonic()
    span = TimeSpan(
        from_s=-(-instant_ms(from_, option="--from", now_s=now_s) // 1000),
        to_s=-(-instant_ms(to, option="--to", now_s=now_s) // 1000),
    )
    console = Console(highlight=False, soft_wrap=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("reading the log", total=None)

        def show(batch: "LoggedBatch", total: int) -> None:
            progress.update(task, total=total, advance=1, description=instant_text(batch.at_ms / 1000))

        details = {"checkpoint": str(settings.checkpoint.absolute()), "from": from_, "to": to, "sink": settings.sink}
        record(settings.audit, "rebuild", details, at_s=now_s, checkpoint=settings.checkpoint)
        try:
            done = rebuild_span(settings, span, on_batch=show)
        except KeyboardInterrupt:
            progress.stop()
            console.print("interrupted: what was written is right; repeat the command for the rest")
            raise typer.Exit(130) from None
    console.print(
        f"rebuilt {instant_text(done.first_s)} to {instant_text(done.last_s)}: {done.points:,} points, {done.frames:,} "
        f"frames of {done.regions} region(s), from {done.events:,} events in {done.batches:,} batches, in "
        f"{time.monotonic() - started:.1f} s"
    )
    if done.others:
        console.print(
            f"[bold]warning:[/bold] the counts are those of then, but the scores of {done.others:,} frames are not: "
            "made by another version of this program or of torch, or on another device (a GPU, or the baseline)"
        )
    else:
        console.print("every frame is equal to what was written live, to the last bit")

"""The `rebuild` command: writes the scores of a span again, after the store lost them."""

import time
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from schemas.audit_log import record
from streaming.instants import instant_ms, instant_text
from streaming.settings import Settings

if TYPE_CHECKING:
    from streaming.disk.batch_log import LoggedBatch
    from streaming.rebuild.job import RebuildReport


def rebuild(
    context: typer.Context,
    from_: Annotated[str, typer.Option("--from", help="First moment: `earliest`, or a time: 2026-11-25T06:00:00Z")],
    to: Annotated[str, typer.Option("--to", help="End, not included: `latest` (now), or a time with an offset")],
    sink: Annotated[str | None, typer.Option(help="`influxdb` or `file:PATH`; default: RISK_SINK")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only show what would be rebuilt; nothing is written")] = False,
) -> None:
    """Write the scores of a span again, from Kafka and the checkpoint's log: equal to what was written live."""
    from streaming.rebuild.job import prepare_rebuild  # torch: seconds that other commands save

    asked: Settings = context.obj
    settings, now_s = asked.with_options(sink=sink), time.time()
    first_ms, end_ms = (instant_ms(text, option=o, now_s=now_s) for o, text in (("--from", from_), ("--to", to)))
    span = range(-(-first_ms // 1000), -(-end_ms // 1000))
    console = Console(highlight=False, soft_wrap=True)
    if plan:
        recount, _ = prepare_rebuild(settings.checkpoint, settings.artifacts, span)
        console.print(f"would rebuild {recount.plan}")
        return
    details = {"checkpoint": str(settings.checkpoint.absolute()), "from": from_, "to": to, "sink": settings.sink}
    record(settings.audit, "rebuild", details, at_s=now_s, checkpoint=settings.checkpoint)
    started = time.monotonic()
    report = _with_progress(settings, span, console)
    seconds = time.monotonic() - started
    console.print(f"rebuilt {report.plan}: {report.points:,} points, in {seconds:.1f} s")
    if report.differing:
        console.print(
            f"[bold]warning:[/bold] the counts are the same as live, but the scores of {report.differing:,} frames "
            "differ: another version of this program or of torch made them, or another device (a GPU, or the baseline)"
        )
    else:
        console.print("every frame is equal to what was written live, to the last bit")


def _with_progress(settings: Settings, span: range, console: Console) -> "RebuildReport":
    from streaming.rebuild.job import rebuild_span

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("reading the log", total=None)

        def show(batch: "LoggedBatch", total: int) -> None:
            progress.update(task, total=total, advance=1, description=instant_text(batch.at_ms / 1000))

        try:
            return rebuild_span(settings, span, on_batch=show)
        except KeyboardInterrupt:
            progress.stop()
            console.print("interrupted: the points that were written are right; repeat the command for the rest")
            raise typer.Exit(130) from None

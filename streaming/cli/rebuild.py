"""The `rebuild` command: writes the scores of a span again, after the store lost them."""

import time
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from schemas.audit.log import record
from schemas.instants import instant_ms
from streaming.settings import Settings


def rebuild(
    context: typer.Context,
    from_: Annotated[str, typer.Option("--from", help="First moment: `earliest`, or a time: 2026-11-25T06:00:00Z")],
    to: Annotated[str, typer.Option("--to", help="End, not included: `latest` (now), or a time with an offset")],
) -> None:
    """Write the scores of a span again, from Kafka and the checkpoint's log: equal to what was written live."""
    from streaming.rebuild import rebuild_span  # torch: seconds that other commands save

    settings: Settings = context.obj()
    now_s = time.time()
    first_ms, end_ms = (instant_ms(text, option=o, now_s=now_s) for o, text in (("--from", from_), ("--to", to)))
    details = {"checkpoint": str(settings.checkpoint.absolute()), "from": from_, "to": to, "sink": settings.sink}
    record(settings.audit, "rebuild", details, at_s=now_s, checkpoint=settings.checkpoint)
    console = Console(highlight=False, soft_wrap=True)
    with Progress(console=console) as progress:
        task = progress.add_task("batches counted")
        try:
            report = rebuild_span(
                settings,
                range(-(-first_ms // 1000), -(-end_ms // 1000)),
                on_batch=lambda done, total: progress.update(task, completed=done, total=total),
            )
        except KeyboardInterrupt:
            console.print("interrupted: the points that were written are right; repeat the command for the rest")
            raise typer.Exit(130) from None
    console.print(f"rebuilt {report.frames:,} frames: {report.points:,} points")
    if report.differing:
        console.print(
            f"[bold]warning:[/bold] the counts are the same as live, but the scores of {report.differing:,} frames "
            "differ: another version of this program or of torch made them, or another device (a GPU, or the baseline)"
        )
    else:
        console.print("every frame is equal to what was written live, to the last bit")

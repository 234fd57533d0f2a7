"""The `replay` command."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from models.files.incident_files import read_incidents
from models.files.layouts import LAYOUT_HELP, parse_layout
from schemas.spec import HOUR_S
from streaming.rehearse.producer import send_plan
from streaming.rehearse.replay import MIXED, Message, Mix, ReplayPlan, local_text, parse_when, plan_replay, weeks_until
from streaming.settings import Settings
from streaming.topics.kafka import KafkaConnection

_File = Annotated[Path, typer.Argument(help="Incident file: .csv, .csv.gz, or .zip with one .csv", show_default=False)]
_From = Annotated[str | None, typer.Option("--from", help="First local date or time to send; default: the first")]
_To = Annotated[str | None, typer.Option("--to", help="End of the span, not included; default: after the last")]
_Speed = Annotated[float, typer.Option(min=0, help="Times real time; 0: as fast as possible")]
_Now = Annotated[bool, typer.Option("--now", help="Move the times by whole weeks, so that they end in the last week")]
_Mixed = Annotated[
    bool, typer.Option("--mixed", help="Add repeats, corrections and messages to be refused, as the demo does")
]


def replay(  # the parameters are the command's options: typer reads them from this signature
    context: typer.Context,
    file: _File,
    layout: Annotated[str, typer.Option(help=LAYOUT_HELP)],
    region: Annotated[str, typer.Option(help="Region of the events, a slug as in the artifact")],
    from_: _From = None,
    to: _To = None,
    speed: _Speed = 60.0,
    now: _Now = False,
    mixed: _Mixed = False,
) -> None:
    """Send an incident file to Kafka as if its incidents happened again. Run the job with RISK_CLOCK=event."""
    settings: Settings = context.obj()
    console = Console(highlight=False, soft_wrap=True)
    with console.status(f"reading {file} ..."):
        table = read_incidents(file, parse_layout(layout))
    zone = table.timezone
    from_s, to_s = (None if when is None else parse_when(when, zone) for when in (from_, to))
    last_s = int(table.occurred_s[-1])
    last_s = last_s if to_s is None else min(to_s, last_s)
    weeks = weeks_until(last_s, now_s=int(time.time()), timezone=zone) if now else 0
    mix = MIXED if mixed else Mix()
    plan = plan_replay(table, region=region, mix=mix, weeks=weeks, from_s=from_s, to_s=to_s)
    started = time.monotonic()
    counts = _send(plan, settings, speed, console)
    kinds = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    first, last = (local_text(int(plan.send_ms[end]) // 1000, zone) for end in (0, -1))
    console.print(
        f"sent {sum(counts.values()):,} messages in {time.monotonic() - started:.1f} s ({kinds}); simulated time "
        f"{first} to {last} {zone}, {weeks:+d} weeks"
    )
    if settings.clock == "wall" and time.time() - plan.send_ms[-1] / 1000 > HOUR_S:
        console.print(
            "These times are in the past. A job on the wall clock scores the present, and refuses events as `late` "
            "when they are older than two days (by default). To score these times, run the job with RISK_CLOCK=event"
        )


def _send(plan: ReplayPlan, settings: Settings, speed: float, console: Console) -> Mapping[str, int]:
    """Send the plan and show a progress bar; messages by kind. Ctrl-C ends the command."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("replay", total=len(plan))

        def show(message: Message) -> None:
            local = local_text(message.send_ms // 1000, plan.table.timezone)
            progress.update(task, advance=1, description=local)

        try:
            return send_plan(plan, KafkaConnection.of(settings), settings.topic, speed=speed, on_sent=show)
        except KeyboardInterrupt:
            progress.stop()
            console.print(f"interrupted: {progress.tasks[task].completed:,.0f} of {len(plan):,} messages were sent")
            raise typer.Exit(130) from None

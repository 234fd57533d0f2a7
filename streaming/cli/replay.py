"""The `replay` command."""

import re
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text

from models.files.incident_files import read_incidents
from models.files.layouts import LAYOUT_HELP, parse_layout
from schemas.errors import DataError
from schemas.spec import HOUR_S
from streaming.rehearse.producer import send_plan
from streaming.rehearse.replay import Message, Mix, local_text, parse_when, plan_replay, weeks_until
from streaming.settings import Settings
from streaming.topics.client import Security

_REFRESH_S = 0.1
_MOST_WEEKS = 5200  # a century


def replay(
    context: typer.Context,
    file: Annotated[
        Path, typer.Argument(help="Incident file: .csv, .csv.gz, or .zip with one .csv", show_default=False)
    ],
    layout: Annotated[
        str,
        typer.Option(help=LAYOUT_HELP),
    ],
    region: Annotated[str, typer.Option(help="Slug of the region that the events are for")],
    from_: Annotated[str | None, typer.Option("--from", help="First moment, local date or time; default: all")] = None,
    to: Annotated[str | None, typer.Option("--to", help="End, not included; default: all")] = None,
    speed: Annotated[float, typer.Option(min=0, help="Times real time; 0: as fast as it goes")] = 60.0,
    shift_to: Annotated[
        str, typer.Option(help="Move by whole weeks: `now` (the span ends in the last seven days), `none`, or a number")
    ] = "now",
    duplicates: Annotated[float, typer.Option(min=0, max=1, help="Share of the incidents that is sent again")] = 0.0,
    corrections: Annotated[float, typer.Option(min=0, max=1, help="Share that is corrected by a later revision")] = 0.0,
    bad: Annotated[float, typer.Option(min=0, max=1, help="Messages that must be refused, as a share")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Equal seeds give equal replays")] = 0,
    bootstrap: Annotated[str | None, typer.Option(help="Default: RISK_KAFKA_BOOTSTRAP")] = None,
    topic: Annotated[str | None, typer.Option(help="Default: RISK_TOPIC")] = None,
) -> None:
    """Send an incident file to Kafka as if it happened again. Score it with RISK_CLOCK=event."""
    settings: Settings = context.obj
    console = _console()
    with console.status(f"reading {file} ..."):
        table = read_incidents(file, parse_layout(layout))
    zone = table.timezone
    from_s = None if from_ is None else parse_when(from_, zone)
    to_s = None if to is None else parse_when(to, zone)
    mix = Mix(duplicates=duplicates, corrections=corrections, bad=bad, seed=seed)
    end_s = int(table.occurred_s[-1]) if to_s is None else min(to_s, int(table.occurred_s[-1]))
    weeks = _weeks(shift_to, end_s, zone)
    plan = plan_replay(table, region=region, mix=mix, weeks=weeks, from_s=from_s, to_s=to_s)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate())
    started = time.monotonic()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("replay", total=len(plan))
        sent, shown_s = 0, started

        def show(message: Message) -> None:
            nonlocal sent, shown_s
            sent += 1
            if sent == len(plan) or time.monotonic() - shown_s > _REFRESH_S:
                shown_s = time.monotonic()
                progress.update(task, completed=sent, description=local_text(message.send_ms // 1000, zone))

        try:
            counts = send_plan(
                plan,
                bootstrap=bootstrap or settings.kafka_bootstrap,
                topic=topic or settings.topic,
                speed=speed,
                security=Security.of(settings),
                on_sent=show,
            )
        except KeyboardInterrupt:
            progress.stop()
            console.print(f"interrupted: {sent:,} of {len(plan):,} messages were sent")
            raise typer.Exit(130) from None
    kinds = ", ".join(f"{count:,} {name}" for name, count in counts.items())
    first, last = (local_text(int(plan.send_ms[end]) // 1000, zone) for end in (0, -1))
    console.print(
        f"sent {sum(counts.values()):,} messages in {time.monotonic() - started:.1f} s ({kinds}); simulated time "
        f"{first} to {last} {zone}, {weeks:+d} weeks"
    )
    if settings.clock == "wall" and time.time() - plan.send_ms[-1] / 1000 > HOUR_S:
        console.print(
            "this time is past: a job on the wall clock scores the present, and refuses as `late` what is older than "
            "it remembers (two days by default). To score the time replayed, give the job RISK_CLOCK=event"
        )


def _console() -> Console:
    return Console(highlight=False, soft_wrap=True)


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:,.1f}/s")


def _weeks(shift_to: str, last_s: int, timezone: str) -> int:
    if shift_to == "none":
        return 0
    if shift_to == "now":
        return weeks_until(last_s, now_s=int(time.time()), timezone=timezone)
    if re.fullmatch(r"[+-]?\d{1,4}", shift_to) and abs(int(shift_to)) <= _MOST_WEEKS:
        return int(shift_to)
    raise DataError(f"--shift-to {shift_to}: write now, none, or a whole number of weeks, at most {_MOST_WEEKS:,}")

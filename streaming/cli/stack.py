"""The commands `broker` and `replay`. They expect the deployment's Settings as the typer context's object."""

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
from schemas.errors import BrokerError, DataError
from schemas.spec import HOUR_S
from streaming.rehearse.broker import HOST, running_broker, start_broker, stop_broker
from streaming.rehearse.producer import replay
from streaming.rehearse.replay import Message, Mix, local_text, parse_when, plan_replay, weeks_until
from streaming.settings import Settings
from streaming.topics.admin import ensure_topics
from streaming.topics.client import Security

TOPIC_PARTITIONS = 4  # room for four cores to read; a topic's number can only grow
_REFRESH_S = 0.1
_MOST_WEEKS = 5200  # a century
_FOLDER = Annotated[Path, typer.Option("--folder", help="Where the broker keeps its data and its log")]
_DEFAULT_FOLDER = Path("data/broker")

broker_app = typer.Typer(no_args_is_help=True, help="A real Kafka broker on this machine, without Docker.")


@broker_app.command("start")
def broker_start(
    context: typer.Context,
    folder: _FOLDER = _DEFAULT_FOLDER,
    port: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="Default: the port of RISK_KAFKA_BOOTSTRAP")
    ] = None,
) -> None:
    """Start the broker, make the topics, leave it running. The first start fetches Kafka's jars (43 MB)."""
    settings: Settings = context.obj
    console = _console()
    with console.status("starting Kafka (the first start fetches its jars, 43 MB) ..."):
        broker = start_broker(folder, cache=settings.cache, port=port or _local_port(settings.kafka_bootstrap))
        ensure_topics(broker.bootstrap, {settings.topic: TOPIC_PARTITIONS, settings.dead_letter_topic: 1})
    verb = "already runs" if broker.already_ran else "runs"
    console.print(f"Kafka {verb} at {broker.bootstrap} (process {broker.pid}, data and log in {broker.folder})")


@broker_app.command("stop")
def broker_stop(folder: _FOLDER = _DEFAULT_FOLDER) -> None:
    """Stop the broker and wait until it is gone."""
    stopped = stop_broker(folder)
    _console().print("Kafka has stopped" if stopped else f"no broker runs from {folder}")


@broker_app.command("status")
def broker_status(folder: _FOLDER = _DEFAULT_FOLDER) -> None:
    """Say whether the broker runs; exit code 1 when it does not."""
    broker = running_broker(folder)
    if broker is None:
        _console().print(f"no broker runs from {folder}")
        raise typer.Exit(1)
    _console().print(f"Kafka runs at {broker.bootstrap} (process {broker.pid}, data and log in {broker.folder})")


def replay_command(
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
            counts = replay(
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


def _local_port(bootstrap: str) -> int:
    host, _, port = bootstrap.partition(":")
    if host not in (HOST, "localhost") or not port.isdecimal():
        raise BrokerError(
            f"RISK_KAFKA_BOOTSTRAP is {bootstrap}, which is not one port of this machine: give --port, or set it to "
            f"{HOST}:9092"
        )
    return int(port)

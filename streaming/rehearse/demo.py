"""The demo: a real broker, the real job and one real day of 911 calls, in one command that ends by itself.

The day ends with a thunderstorm: it runs fast until then, and slowly through it. The report of the evening follows.
"""

import logging
import os
import shutil
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Annotated

import numpy as np
import typer
from pydantic import SecretStr
from rich.console import Console

from models.artifact import champion_of
from models.files.incident_files import read_incidents
from models.files.layouts import LAYOUTS
from schemas.errors import PipelineError, RiskError, SettingsError
from schemas.files import write_errors
from schemas.spec import DAY_S
from streaming.flow.rows import Published
from streaming.jars import java_version
from streaming.job import Watcher, run
from streaming.kafka import KafkaConnection, ensure_topics
from streaming.rehearse.broker import HOST, Broker, free_port, start_broker
from streaming.rehearse.demo_report import WIDTH, Evening, report
from streaming.rehearse.incident_replay import (
    ARTIFACTS,
    DEMO_DAY,
    GROUND,
    MIXED,
    REGION,
    SAMPLE,
    Due,
    Message,
    ReplayPlan,
    local_text,
    parse_when,
    plan_replay,
    send_plan,
)
from streaming.settings import Settings, stop_on_signals
from streaming.watchers import FrameWatch

_LONGEST_BESIDE_S = 200.0  # what the replay takes
_LONGEST_START_S = 60.0  # of the map's service
_SERVICE = ("-m", "incident_risk", "serve")
_SLOW_FROM, _HEIGHT, _SLOW_UNTIL = (f"{DEMO_DAY}T{clock}" for clock in ("17:30", "19:15", "21:00"))
_SHARES = (0.2, 0.9)  # of the replay's time: when the slow part begins, and when it ends
_POLL_S = 0.1
# The broker of a rehearsal has no passwords, whatever Kafka the settings name.
_OWN_BROKER = {
    "kafka_security": "plaintext",
    "kafka_username": "",
    "kafka_password": SecretStr(""),
    "kafka_ca": None,
}


def demo_command(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder for the frames, the scores and the files of broker and job")] = Path(
        "out/demo"
    ),
    seconds: Annotated[float, typer.Option(min=10, max=600, help="How long the replayed day takes")] = 70.0,
) -> None:
    """Score a day of 911 calls with a storm through Kafka, Spark and the model, with a live map. Ends by itself."""
    settings: Settings = context.obj()
    console = Console(highlight=False)
    logging.basicConfig(level=logging.ERROR)
    java_version()  # before the folder of an earlier demo goes
    if (out / "broker").exists() or (out / "checkpoint").exists():
        shutil.rmtree(out)  # only the folder of an earlier demo
    out.mkdir(parents=True, exist_ok=True)
    stop, plan = stop_on_signals(), day_plan()
    frames, height = (FrameWatch(folder=out / name, clock="event", artifacts=ARTIFACTS) for name in ("frames", "storm"))
    evening = Evening(plan=plan, artifact=champion_of(ARTIFACTS, REGION))
    height_s = parse_when(_HEIGHT, plan.table.timezone)
    rehearsal = Rehearsal(
        plan=plan,
        artifacts=ARTIFACTS,
        out=out,
        due_s=slow_in_the_storm(plan, seconds),
        longest_s=seconds + _LONGEST_BESIDE_S,
        on_sent=evening.on_sent,
    )
    console.print(
        "[bold]Incident Risk Scorer[/bold]: the 911 calls of 25 July 2016 in Montgomery County, Pennsylvania, with the "
        f"thunderstorm of that evening. The day goes by in {seconds:.0f} seconds."
    )
    starting = "starting Kafka and Spark (the first time also fetches 50 MB of jars) ..."
    with map_service(out / "frames") as address, console.status(starting) as status:
        console.print(
            f"Open [bold]{address}[/bold]: the map moves once Kafka, Spark and the model have started. Morning and "
            "afternoon go by in seconds; from half past five on watch what it says.\n"
        )

        def show(published: Published) -> None:
            if frame := published.frames.get(REGION):
                if frame.as_of_s >= height_s and not (out / "storm").exists():
                    height.show(published)
                    shutil.copytree(out / "frames" / "hours", out / "storm" / "hours", dirs_exist_ok=True)
                clock = local_text(frame.as_of_s, frame.spec.timezone)[11:]
                consumed = sum(summary.totals["consumed"] for summary in published.summaries.values())
                status.update(f"{clock} in the county, {consumed:,} messages scored, map: {address}")

        began_s = time.monotonic()
        rehearsal.run(settings, stop=stop, watchers=[evening.on_batch, frames.show, show])
        took_s = time.monotonic() - began_s
    page = report(evening, rehearsal.ledger, rehearsal.sent_by_kind)
    console.print(page)
    with write_errors(SettingsError, out / "report.txt"), (out / "report.txt").open("w", encoding="utf-8") as file:
        Console(file=file, width=WIDTH, highlight=False).print(page)
    again = " ".join((os.path.relpath(sys.executable), *_SERVICE, *_of_the_map(out / "storm")))
    console.print(
        f"\n{took_s:.0f} s, with the start of Kafka and Spark. "
        f"This page is {out / 'report.txt'}, the scores are {rehearsal.scores}."
    )
    console.print("The map at the storm's height again, soon after 19:15, with the hours before:")
    console.print(f"[bold]{again}[/bold]", soft_wrap=True)  # one line, to be copied


def day_plan() -> ReplayPlan:
    """The plan of the demo day, with duplicates, corrections and bad messages."""
    table = read_incidents(SAMPLE, LAYOUTS["sample"])
    from_s = parse_when(DEMO_DAY, table.timezone)
    return plan_replay(table, region=REGION, mix=MIXED, from_s=from_s, to_s=from_s + DAY_S)


def slow_in_the_storm(plan: ReplayPlan, seconds: float) -> Due:
    """The day in so many seconds, most of which the storm gets."""
    slow_ms = [parse_when(clock, plan.table.timezone) * 1000 for clock in (_SLOW_FROM, _SLOW_UNTIL)]
    times_ms = [int(plan.send_ms[0]), *slow_ms, int(plan.send_ms[-1])]
    due_s = [0.0, *(share * seconds for share in _SHARES), seconds]
    return lambda send_ms: float(np.interp(send_ms, times_ms, due_s))


def _of_the_map(frames: Path) -> tuple[str, ...]:
    return ("--frames", str(frames), "--streets", os.path.relpath(GROUND))


@contextmanager
def map_service(frames: Path) -> Iterator[str]:
    """Gives the live map's address while the service, a process of its own, runs. Its log lies beside `frames`.

    Raises PipelineError when it does not start.
    """
    port, log = free_port(), frames.with_name("service.log")
    command = [sys.executable, *_SERVICE, *_of_the_map(frames), "--listen", f"{HOST}:{port}"]
    with log.open("wb") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            deadline = time.monotonic() + _LONGEST_START_S
            while True:
                with socket.socket() as probe:
                    if probe.connect_ex((HOST, port)) == 0:
                        break
                if process.poll() is not None or time.monotonic() > deadline:
                    raise PipelineError("the service of the map did not start", f"read {log}")
                time.sleep(0.1)
            yield f"http://{HOST}:{port}/"
        finally:
            process.terminate()


class Interrupted(RiskError):
    """A person stopped it before its end."""

    exit_code = 130


@dataclass(slots=True)
class Rehearsal:
    """A replay through a broker and the real job, both started here; it ends when every message is scored."""

    plan: ReplayPlan
    artifacts: Path
    out: Path  # folder of the broker, the checkpoint and the scores
    due_s: Due | None  # when each message is sent; None: all at once
    longest_s: float  # it fails when it takes longer
    on_sent: Callable[[Message], None] = lambda _: None
    sent_by_kind: Mapping[str, int] = field(default_factory=dict)
    ledger: Counter[str] = field(default_factory=Counter)
    _has_scored: bool = False
    _failure: RiskError | None = None

    @property
    def scores(self) -> Path:
        return self.out / "scores.lp"

    def run(self, settings: Settings, *, stop: Event, watchers: list[Watcher]) -> None:
        """Replay and score. Broker and job stop before this returns, whatever happens. Setting `stop` ends it early.

        Raises RiskError.
        """
        with start_broker(self.out / "broker", cache=settings.cache, port=0) as broker:
            own = settings.model_copy(update=_OWN_BROKER).with_options(
                kafka_bootstrap=broker.bootstrap,
                artifacts=self.artifacts,
                checkpoint=self.out / "checkpoint",
                audit=self.out / "audit.jsonl",
                sink=f"file:{self.scores}",
                clock="event",
                trigger_s=0.0,
                starting="earliest",
            )
            ensure_topics(KafkaConnection.of(own), {own.topic: 1, own.dead_letter_topic: 1})
            finished = Event()
            producer = Thread(target=self._produce, args=(own, broker, stop, finished))
            producer.start()
            try:
                run(own, stop=finished, watchers=[self._note, *watchers])
            except RiskError as error:
                if fault := broker.fault():
                    raise fault from error
                raise
            finally:
                stop.set()
                producer.join()
        if self._failure:
            raise self._failure

    def _note(self, published: Published) -> None:
        for summary in published.summaries.values():
            self.ledger.update(summary.ledger)
        self._has_scored = self._has_scored or self.plan.region in published.frames

    def _produce(self, settings: Settings, broker: Broker, stop: Event, finished: Event) -> None:
        """Wait for the first frame, send the plan, wait until all of it is scored; then let the job stop."""
        deadline = time.monotonic() + self.longest_s
        try:
            self._wait(lambda: self._has_scored, broker, stop, deadline)
            self.sent_by_kind = send_plan(
                self.plan,
                KafkaConnection.of(settings),
                settings.topic,
                due_s=self.due_s,
                on_sent=self.on_sent,
                sleep=lambda seconds: _interruptible(seconds, stop),
            )
            self._wait(lambda: self.ledger["consumed"] >= len(self.plan), broker, stop, deadline)
        except Interrupted as error:
            self._failure = error
        except RiskError as error:
            self._failure = broker.fault() or error
        finally:
            finished.set()

    def _wait(self, done: Callable[[], bool], broker: Broker, stop: Event, deadline: float) -> None:
        while not done():
            _interruptible(_POLL_S, stop)
            if fault := broker.fault():
                raise fault
            if time.monotonic() > deadline:
                raise PipelineError(
                    f"the replay was not scored within {self.longest_s:.0f} s",
                    "try again when the machine is less busy",
                )


def _interruptible(seconds: float, stop: Event) -> None:
    if stop.wait(seconds):
        raise Interrupted("stopped before the end; nothing is left running")

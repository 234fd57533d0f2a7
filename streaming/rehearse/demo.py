"""The demo: a real broker, the real job and one real day of incidents, in one command that ends by itself.

Its report: the ledger, the latency, and how good the forecast of the day was.
"""

import logging
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from models.counting.count_state import OUTCOMES
from models.files.incident_files import IncidentTable, read_incidents
from models.files.layouts import LAYOUTS
from models.measures import AtShare, captured
from schemas.errors import PipelineError
from schemas.frame import RiskFrame
from schemas.spec import DAY_S
from streaming.flow.rows import Published
from streaming.jars import java_version
from streaming.rehearse.broker import HOST, free_port
from streaming.rehearse.incident_replay import (
    ARTIFACTS,
    DEMO_DAY,
    MIXED,
    REGION,
    SAMPLE,
    Message,
    ReplayPlan,
    local_text,
    parse_when,
    plan_replay,
)
from streaming.rehearse.rehearsal import Rehearsal
from streaming.settings import Settings, stop_on_signals
from streaming.watchers import FrameWatch

_LONGEST_S = 240.0
_LONGEST_START_S = 60.0  # of the map's service
_SERVICE = ("-m", "incident_risk", "serve")
_AREA_SHARE = 0.05


def demo_command(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder for the frames, the scores and the files of broker and job")] = Path(
        "out/demo"
    ),
    seconds: Annotated[float, typer.Option(min=10, max=120, help="How long the replayed day takes")] = 45.0,
) -> None:
    """Score a real day of Chicago through Kafka, Spark and the model, with a live map. Ends by itself."""
    settings: Settings = context.obj()
    console = Console(highlight=False)
    logging.basicConfig(level=logging.ERROR)
    java_version()  # before the folder of an earlier demo goes
    if (out / "broker").exists() or (out / "checkpoint").exists():
        shutil.rmtree(out)  # only the folder of an earlier demo
    out.mkdir(parents=True, exist_ok=True)
    stop, recording, frames = stop_on_signals(), Recording(), FrameWatch(folder=out / "frames", clock="event")
    rehearsal = Rehearsal(
        plan=day_plan(),
        artifacts=ARTIFACTS,
        out=out,
        speed=DAY_S / seconds,
        longest_s=_LONGEST_S,
        on_sent=recording.on_sent,
    )

    console.print(f"[bold]Incident Risk Scorer[/bold]: one real day of Chicago, 2017-10-21, in {seconds:.0f} seconds.")
    starting = "starting Kafka and Spark (the first time also fetches 150 MB of jars) ..."
    with map_service(out / "frames") as address, console.status(starting) as status:
        console.print(
            f"Open [bold]{address}[/bold], and watch the map move once Kafka, Spark and the model have started.\n"
        )

        def show(published: Published) -> None:
            for frame in published.frames.values():
                local = local_text(frame.as_of_s, frame.spec.timezone)
                consumed = sum(summary.totals["consumed"] for summary in published.summaries.values())
                status.update(f"{local} in Chicago, {consumed:,} messages scored, map: {address}")

        began_s = time.monotonic()
        rehearsal.run(settings, stop=stop, watchers=[recording.on_batch, frames.show, show])
        took_s = time.monotonic() - began_s
    console.print(report(recording, rehearsal))
    again = " ".join((os.path.relpath(sys.executable), *_SERVICE, "--frames", str(out / "frames")))
    console.print(f"\n{took_s:.0f} s in all; the scores are in {rehearsal.scores}. The last map again:")
    console.print(f"[bold]{again}[/bold]", soft_wrap=True)  # one line, to be copied


@dataclass(slots=True)
class Recording:
    """What the demo observed: when each message was sent and acknowledged, and the first frame."""

    sent_s: list[float] = field(default_factory=list)  # wall clock, in the order of the (only) partition
    acknowledged_s: list[float] = field(default_factory=list)  # the same order
    points: int = 0
    batches: int = 0
    before: RiskFrame | None = None  # the day began

    def on_sent(self, _message: Message) -> None:
        self.sent_s.append(time.time())

    def on_batch(self, published: Published) -> None:
        self.batches += 1
        self.points += published.points
        consumed = sum(summary.ledger["consumed"] for summary in published.summaries.values())
        self.acknowledged_s += [published.acknowledged_s] * consumed
        self.before = self.before or published.frames.get(REGION)

    def latencies_s(self) -> npt.NDArray[np.float64]:
        """(messages,) seconds from sending a message to the acknowledgement of the scores that contain it."""
        return np.asarray(np.array(self.acknowledged_s) - np.array(self.sent_s))


def day_plan() -> ReplayPlan:
    """The plan of the demo day, with duplicates, corrections and bad messages."""
    table = read_incidents(SAMPLE, LAYOUTS["sample"])
    from_s = parse_when(DEMO_DAY, table.timezone)
    return plan_replay(table, region=REGION, mix=MIXED, from_s=from_s, to_s=from_s + DAY_S)


@contextmanager
def map_service(frames: Path) -> Iterator[str]:
    """Gives the live map's address while the service, a process of its own, runs. Its log lies beside `frames`.

    Raises PipelineError when it does not start.
    """
    port, log = free_port(), frames.with_name("service.log")
    command = [sys.executable, *_SERVICE, "--frames", str(frames), "--listen", f"{HOST}:{port}"]
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


def report(recording: Recording, rehearsal: Rehearsal) -> RenderableType:
    """Ledger, latency, and how good the forecast of the day was. Raises PipelineError when nothing was scored."""
    if recording.before is None:
        raise PipelineError("the job produced no score", "read the messages above")
    return Group(_ledger(recording, rehearsal), _forecast_quality(rehearsal.plan.table, recording.before))


def _ledger(recording: Recording, rehearsal: Rehearsal) -> Table:
    ledger = rehearsal.ledger
    sent = ", ".join(f"{count:,} {kind}" for kind, count in rehearsal.sent_by_kind.items() if count)
    table = _table("Every message has one outcome", "", "messages", "")
    table.add_row("sent", f"{sum(rehearsal.sent_by_kind.values()):,}", sent)
    table.add_row("consumed", f"{ledger['consumed']:,}", f"in {recording.batches} batches, {recording.points:,} points")
    for name, meaning in (
        ("counted", "first message about an incident"),
        ("corrected", "moved, reclassified or cancelled"),
        ("duplicate", "sent again, changed nothing"),
        ("repeated", "reports again what another call has reported"),
        ("excluded", "of an origin that feeds no score, or already in the history"),
    ):
        table.add_row(f"  {name}", f"{ledger[name]:,}", meaning)
    reasons = {name.removeprefix("rejected_"): n for name, n in sorted(ledger.items()) if name.startswith("rejected_")}
    table.add_row("  rejected", f"{ledger['rejected']:,}", ", ".join(f"{n} {name}" for name, n in reasons.items()))
    difference = ledger["consumed"] - sum(ledger[name] for name in (*OUTCOMES, "rejected"))
    table.add_row("unaccounted", f"{difference:,}", "must be 0")
    p50, p99 = np.quantile(recording.latencies_s(), [0.5, 0.99])
    table.add_row(
        "latency", f"{p50 * 1000:,.0f} ms", f"median, from sent to scored and written; 99 % within {p99 * 1000:,.0f} ms"
    )
    return table


def _forecast_quality(day: IncidentTable, beforehand: RiskFrame) -> Group:
    """Of the frame from before the day, on the day's real incidents."""
    grid, start_s = beforehand.spec.grid, beforehand.tick_s
    chosen = (day.occurred_s >= start_s) & (day.occurred_s < start_s + DAY_S)
    cell, inside = grid.locate(day.lat_deg[chosen], day.lon_deg[chosen])
    counts = np.bincount(cell[inside], minlength=grid.cells)
    model, baseline = (hits_of(beforehand, mean, counts) for mean in (beforehand.expected, beforehand.usual))
    title = f"How good the forecast for {local_text(start_s, beforehand.spec.timezone)[:10]} was"
    table = _table(title, "cells chosen by", "incidents inside", "share")
    for name, share in (
        ("model", model.hit_rate),
        ("baseline", baseline.hit_rate),
        ("hindsight (the best possible)", model.ideal_hit_rate),
    ):
        table.add_row(name, f"{round(share * counts.sum()):,} of {counts.sum():,}", f"{share:.1%}")
    lead = round((model.hit_rate - baseline.hit_rate) * counts.sum())
    verdict = (
        "On this day the model chose as well as the simple baseline"
        if abs(lead) < 0.02 * counts.sum()
        else f"On this day the model's cells held {abs(lead)} incidents {'more' if lead > 0 else 'fewer'}"
    )
    note = (
        f"Each way chooses {model.cells} cells, 5 % of the {_active(beforehand).sum()} that ever had an incident; "
        f"model and baseline chose before the day began. {verdict}. A single day proves nothing."
    )
    return Group(table, Text(note, style="dim"))


def hits_of(frame: RiskFrame, mean: npt.NDArray[np.float32], counts: npt.NDArray[np.int64]) -> AtShare:
    """What 5 % of the cells with any history catch that `mean` puts first for the longest horizon.

    mean: (cells, categories, horizons). counts: (cells,) incidents of that horizon, also where there is no history.
    """
    active = _active(frame)
    capture = captured(mean[active, :, -1].sum(axis=1, dtype=float)[None], counts[active][None])
    return replace(capture, incidents=float(counts.sum())).at(_AREA_SHARE)


def _active(frame: RiskFrame) -> npt.NDArray[np.bool_]:
    """(cells,) whether each ever had an incident."""
    return np.asarray((frame.support > 0).any(axis=1))


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False)
    for position, column in enumerate(columns):
        table.add_column(column, justify="right" if position and column != "" else "left")
    return table

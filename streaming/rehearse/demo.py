"""The demo: a real broker, the real job and one real day of incidents, in one command that ends by itself."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from models.files.incident_files import read_incidents
from models.files.layouts import LAYOUTS
from schemas.errors import PipelineError
from schemas.frame import RiskFrame
from streaming.flow.rows import Published
from streaming.rehearse.broker import HOST, free_port
from streaming.rehearse.rehearsal import Rehearsal, Watcher
from streaming.rehearse.replay import MIXED, Message, ReplayPlan, parse_when, plan_replay
from streaming.rehearse.sample import ARTIFACTS, DEMO_DAY, REGION, SAMPLE
from streaming.settings import Settings
from streaming.watch.frame_watch import FrameWatch

DAY_S = 86_400
_LONGEST_S = 240.0
_LONGEST_START_S = 60.0  # of the map's service
SERVICE = ("-m", "service", "serve")


@dataclass(slots=True)
class Recording:
    """What the demo observed: when each message was sent and acknowledged, the first frame and the last frame."""

    sent_s: list[float] = field(default_factory=list)  # wall clock, in the order of the (only) partition
    acknowledged_s: list[float] = field(default_factory=list)  # the same order
    points: int = 0
    batches: int = 0
    first: RiskFrame | None = None
    last: RiskFrame | None = None

    def on_sent(self, _message: Message) -> None:
        self.sent_s.append(time.time())

    def on_batch(self, published: Published) -> None:
        self.batches += 1
        self.points += published.points
        consumed = sum(summary.ledger["consumed"] for summary in published.summaries.values())
        self.acknowledged_s += [published.acknowledged_s] * consumed
        frame = published.frames.get(REGION)
        if frame:
            self.first = self.first or frame
            self.last = frame

    def frames(self) -> tuple[RiskFrame, RiskFrame]:
        """The frame before the day began, and the last frame. Raises PipelineError when nothing was scored."""
        if self.first is None or self.last is None:
            raise PipelineError("the job produced no score", "read the messages above")
        return self.first, self.last

    def latencies_s(self) -> npt.NDArray[np.float64]:
        """(messages,) seconds from sending a message to the acknowledgement of the scores that contain it."""
        return np.asarray(np.array(self.acknowledged_s) - np.array(self.sent_s))


def day_plan() -> ReplayPlan:
    """The plan of the demo day, with duplicates, corrections and bad messages."""
    table = read_incidents(SAMPLE, LAYOUTS["sample"])
    from_s = parse_when(DEMO_DAY, table.timezone)
    return plan_replay(table, region=REGION, mix=MIXED, from_s=from_s, to_s=from_s + DAY_S)


def run_demo(
    settings: Settings, *, out: Path, replay_s: float, stop: threading.Event, watchers: list[Watcher]
) -> tuple[Recording, Rehearsal]:
    """Run the demo; its files go to the folder `out`, and the day takes about `replay_s` seconds. Raises RiskError.

    The broker and the job stop before this returns, whatever happens. Setting `stop` ends the demo early.
    """
    recording, left = Recording(), FrameWatch(folder=out / "frames", clock="event")
    rehearsal = Rehearsal(
        plan=day_plan(),
        artifacts=ARTIFACTS,
        out=out,
        speed=DAY_S / replay_s,
        longest_s=_LONGEST_S,
        on_sent=recording.on_sent,
    )
    rehearsal.run(settings, stop=stop, watchers=[recording.on_batch, left.show, *watchers])
    return recording, rehearsal


@contextmanager
def map_service(frames: Path) -> Iterator[str]:
    """Gives the live map's address while the service, a process of its own, runs. Its log lies beside `frames`.

    Raises PipelineError when it does not start.
    """
    port, log = free_port(), frames.with_name("service.log")
    command = [sys.executable, *SERVICE, "--frames", str(frames), "--listen", f"{HOST}:{port}"]
    with log.open("wb") as said, subprocess.Popen(command, stdout=said, stderr=said) as process:
        try:
            _wait(process, port, log)
            yield f"http://{HOST}:{port}/"
        finally:
            process.terminate()


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _LONGEST_START_S
    while not _answers(port):
        if process.poll() is not None or time.monotonic() > deadline:
            raise PipelineError("the service of the map did not start", f"read {log}")
        time.sleep(0.1)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0

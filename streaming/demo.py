"""The demo: a real broker, the real job and one real day of incidents, in one command that ends by itself."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import SecretStr

from models.incident_files import IncidentTable, read_incidents
from models.layouts import LAYOUTS
from schemas.errors import PipelineError, RiskError
from schemas.frame import RiskFrame
from streaming.broker import start_broker
from streaming.map_watch import MapWatch
from streaming.pipeline import run
from streaming.producer import replay
from streaming.publish import Published
from streaming.replay import Message, Mix, Plan, parse_when, plan_replay
from streaming.sample_cut import DEMO_DAY, SAMPLE
from streaming.settings import Settings
from streaming.topics import ensure_topics

REGION = "chicago"
ARTIFACTS = SAMPLE.parent / "artifacts"
MIX = Mix(duplicates=0.06, corrections=0.04, bad=0.03, seed=7)
MAP_EVERY_S = 2.0
DAY_S = 86_400
_STOP_AFTER_S = 240.0  # a demo that has not come to its end by then never will
_POLL_S = 0.1
# Whatever Kafka the settings are for, the demo's own has no passwords.
_OUR_OWN_BROKER = {
    "kafka_security": "plaintext",
    "kafka_username": "",
    "kafka_password": SecretStr(""),
    "kafka_ca": None,
}
Watcher = Callable[[Published], None]


@dataclass(slots=True)
class Recording:
    """What the demo saw: when each message was sent and acknowledged, the first frame and the last."""

    expected_messages: int
    sent_s: list[float] = field(default_factory=list)  # wall clock, in the order of the (only) partition
    acknowledged_s: list[float] = field(default_factory=list)  # the same order
    ledger: Counter[str] = field(default_factory=Counter)
    points: int = 0
    batches: int = 0
    simulated_s: int = 0
    first: RiskFrame | None = None
    last: RiskFrame | None = None
    sent_by_kind: Mapping[str, int] = field(default_factory=dict)
    failure: RiskError | None = None

    def on_sent(self, message: Message) -> None:
        self.sent_s.append(time.time())
        self.simulated_s = message.send_ms // 1000

    def on_batch(self, published: Published) -> None:
        self.batches += 1
        self.points += published.points
        for summary in published.summaries.values():
            self.ledger.update(summary.ledger)
        done = self.ledger["consumed"] - len(self.acknowledged_s)
        self.acknowledged_s += [published.acknowledged_s] * done
        frame = published.frames.get(REGION)
        if frame:
            self.first = self.first or frame
            self.last = frame

    @property
    def is_complete(self) -> bool:
        return len(self.acknowledged_s) >= self.expected_messages

    def frames(self) -> tuple[RiskFrame, RiskFrame]:
        """The frame from before the day began, and the last one. Raises PipelineError when nothing was scored."""
        if self.first is None or self.last is None:
            raise PipelineError("no score was made: look at the messages above")
        return self.first, self.last

    def latencies_s(self) -> npt.NDArray[np.float64]:
        """(messages,) from sending to the acknowledgement of the scores that contain it."""
        return np.asarray(np.array(self.acknowledged_s) - np.array(self.sent_s))


@dataclass(frozen=True, slots=True, kw_only=True)
class Demo:
    """A finished demo."""

    recording: Recording
    day: IncidentTable
    plan: Plan
    map_page: Path
    scores: Path
    seconds: float


def day_plan() -> tuple[IncidentTable, Plan]:
    """The sample's table and the plan of the demo day, with repeats, corrections and rubbish mixed in."""
    table = read_incidents(SAMPLE, LAYOUTS["sample"])
    from_s = parse_when(DEMO_DAY, table.timezone)
    return table, plan_replay(table, region=REGION, mix=MIX, from_s=from_s, to_s=from_s + DAY_S)


def run_demo(settings: Settings, *, out: Path, replay_s: float, stop: threading.Event, watchers: list[Watcher]) -> Demo:
    """Run the demo into the folder `out`; the day passes in about `replay_s` seconds. Raises RiskError.

    The broker and the job stop before this returns, whatever happens. A set `stop` ends the demo early.
    """
    started = time.monotonic()
    table, plan = day_plan()
    recording = Recording(len(plan))
    page = MapWatch(
        path=out / "map.html", clock="event", refresh_s=MAP_EVERY_S, title=f"Chicago, {DEMO_DAY}", now_s=time.time
    )
    scores = out / "scores.lp"
    with start_broker(out / "broker", cache=settings.cache, port=0) as broker:
        ours = settings.model_copy(update=_OUR_OWN_BROKER).with_options(
            kafka_bootstrap=broker.bootstrap,
            artifacts=ARTIFACTS,
            checkpoint=out / "checkpoint",
            audit=out / "audit.jsonl",
            sink=f"file:{scores}",
            clock="event",
            trigger_s=0.0,
            starting="earliest",
        )
        ensure_topics(broker.bootstrap, {ours.topic: 1, ours.dead_letter_topic: 1})
        finished = threading.Event()
        producer = threading.Thread(
            target=_produce,
            kwargs={
                "plan": plan,
                "settings": ours,
                "speed": DAY_S / replay_s,
                "recording": recording,
                "stop": stop,
                "finished": finished,
            },
        )
        producer.start()
        try:
            run(ours, stop=finished, watchers=[recording.on_batch, page.show, *watchers])
        finally:
            stop.set()
            producer.join()
            page.finish()
    if recording.failure:
        raise recording.failure
    return Demo(
        recording=recording,
        day=table,
        plan=plan,
        map_page=page.path,
        scores=scores,
        seconds=time.monotonic() - started,
    )


def _produce(
    *,
    plan: Plan,
    settings: Settings,
    speed: float,
    recording: Recording,
    stop: threading.Event,
    finished: threading.Event,
) -> None:
    """Wait for the first frame, replay the day, wait until all of it is scored; then let the job stop."""
    deadline = time.monotonic() + _STOP_AFTER_S
    try:
        _wait(lambda: recording.first is not None, stop, deadline)
        recording.sent_by_kind = replay(
            plan,
            bootstrap=settings.kafka_bootstrap,
            topic=settings.topic,
            speed=speed,
            on_sent=recording.on_sent,
            sleep=lambda seconds: _interruptible(seconds, stop),
        )
        _wait(lambda: recording.is_complete, stop, deadline)
    except RiskError as error:
        recording.failure = error
    finally:
        finished.set()


class Interrupted(RiskError):
    """The demo was told to stop before its end."""

    exit_code = 130


def _interruptible(seconds: float, stop: threading.Event) -> None:
    if stop.wait(seconds):
        raise Interrupted("stopped before the end of the day; nothing is left running")


def _wait(done: Callable[[], bool], stop: threading.Event, deadline: float) -> None:
    while not done():
        _interruptible(_POLL_S, stop)
        if time.monotonic() > deadline:
            raise PipelineError(f"the demo did not finish within {_STOP_AFTER_S:.0f} s: is the machine very busy?")

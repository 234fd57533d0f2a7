"""Sends a plan through a broker and the real job, both started here; ends when every message is scored."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from schemas.errors import PipelineError, RiskError
from streaming.flow.rows import Published
from streaming.job import run
from streaming.kafka import KafkaConnection, ensure_topics
from streaming.rehearse.broker import Broker, start_broker
from streaming.rehearse.incident_replay import Due, Message, ReplayPlan, send_plan
from streaming.settings import Settings

_POLL_S = 0.1
# The broker of a rehearsal has no passwords, whatever Kafka the settings name.
_OWN_BROKER = {
    "kafka_security": "plaintext",
    "kafka_username": "",
    "kafka_password": SecretStr(""),
    "kafka_ca": None,
}
Watcher = Callable[[Published], None]


class Interrupted(RiskError):
    """A person stopped it before its end."""

    exit_code = 130


@dataclass(slots=True)
class Rehearsal:
    """A replay and its progress."""

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

    def run(self, settings: Settings, *, stop: threading.Event, watchers: list[Watcher]) -> None:
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
            finished = threading.Event()
            producer = threading.Thread(target=self._produce, args=(own, broker, stop, finished))
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

    def _produce(self, settings: Settings, broker: Broker, stop: threading.Event, finished: threading.Event) -> None:
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

    def _wait(self, done: Callable[[], bool], broker: Broker, stop: threading.Event, deadline: float) -> None:
        while not done():
            _interruptible(_POLL_S, stop)
            if fault := broker.fault():
                raise fault
            if time.monotonic() > deadline:
                raise PipelineError(
                    f"the replay was not scored within {self.longest_s:.0f} s",
                    "try again when the machine is less busy",
                )


def _interruptible(seconds: float, stop: threading.Event) -> None:
    if stop.wait(seconds):
        raise Interrupted("stopped before the end; nothing is left running")

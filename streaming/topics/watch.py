"""Looks whether Kafka is there while the job runs: Spark alone is silent for minutes when it is not."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Event, Thread
from typing import TypeVar

from schemas.errors import BrokerError, BrokerUnavailable
from streaming.topics.client import refuse_unreachable

log = logging.getLogger(__name__)
_EVERY_S, _ASK_EVERY_S = 5.0, 20.0
T = TypeVar("T")


class KafkaIsAway(Exception):
    """The query has ended because Kafka is away; a new one can go on when it is back."""


@dataclass(slots=True)
class KafkaWatch:
    """Says when Kafka has gone and when it is back; gives up when it stays away for `longest_s`."""

    bootstrap: str
    longest_s: float
    pause_s: float = 1.0  # between two questions that were not answered
    check: Callable[[], None] | None = None  # asked from time to time while Kafka answers; raises when the job must end
    _due_s: float = 0.0
    _check_due_s: float = 0.0
    _asking: Thread | None = None
    _refused: Exception | None = None
    _away_since_s: float | None = None

    @property
    def is_away(self) -> bool:
        return self._away_since_s is not None

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Look at once, and from a thread while the caller does other things. What it raises there, `refuse` does."""
        self.look(time.monotonic())
        is_over = Event()

        def keep_looking() -> None:
            while self._refused is None and not is_over.wait(1.0):
                try:
                    self.look(time.monotonic())
                except Exception as error:  # whatever it is: raised where the caller asks
                    self._refused = error

        thread = Thread(target=keep_looking, daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()

    def refuse(self) -> None:
        """Raises BrokerError when nobody has listened for `longest_s`, and what `check` has raised."""
        if self._refused is not None:
            raise self._refused

    def look(self, now_s: float) -> None:
        """Raises as `refuse` does. `now_s`: steady."""
        self.refuse()
        if now_s < self._due_s:
            return
        self._due_s = now_s + _EVERY_S
        try:
            refuse_unreachable(self.bootstrap)
        except BrokerUnavailable as error:
            if self._away_since_s is None:
                self._away_since_s = now_s
                log.warning(
                    "Kafka at %s does not answer: no new scores. Start it, or correct RISK_KAFKA_BOOTSTRAP; waiting "
                    "for it, %.0f s at most",
                    self.bootstrap,
                    self.longest_s,
                )
            elif now_s - self._away_since_s >= self.longest_s:
                raise BrokerError(
                    f"Kafka at {self.bootstrap} has not answered for {now_s - self._away_since_s:.0f} s: start it, "
                    "then start this again; nothing is lost"
                ) from error
        else:
            if self._away_since_s is not None:
                log.info("Kafka at %s answers again after %.0f s", self.bootstrap, now_s - self._away_since_s)
                self._away_since_s = None
            if self.check is not None and now_s >= self._check_due_s and not self._is_asking():
                self._check_due_s = now_s + _ASK_EVERY_S
                self._asking = Thread(target=self._ask, args=[self.check], daemon=True)
                self._asking.start()

    def _is_asking(self) -> bool:
        return self._asking is not None and self._asking.is_alive()

    def _ask(self, check: Callable[[], None]) -> None:
        """Aside: a Kafka that listens and is silent answers after its time limit, and a stop must not wait for that."""
        try:
            with suppress(BrokerUnavailable):  # it went away just now
                check()
        except Exception as error:  # as above
            self._refused = error

    def wait_until_there(self, stop: Event) -> bool:
        """True once Kafka answers, False when told to stop. Raises BrokerError as `refuse` does. Only while looking."""
        self.refuse()
        while self.is_away:
            if stop.wait(1.0):
                return False
            self.refuse()
        return True

    def answer(self, question: Callable[[], T], stop: Event) -> T | None:
        """What Kafka says, asked again while it does not answer; None when told to stop.

        `question` raises BrokerUnavailable for want of an answer; so does this once none has come for `longest_s`.
        """
        began_s = time.monotonic()
        while self.wait_until_there(stop):
            try:
                return question()
            except BrokerUnavailable as error:
                if time.monotonic() - began_s >= self.longest_s:
                    raise
                log.warning("%s; asking again", error)
            stop.wait(self.pause_s)
        return None

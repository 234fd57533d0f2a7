"""Ends a job in which a batch hangs: a supervisor restarts what has ended, and nobody restarts what is silent."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pyspark import SparkContext

from schemas.errors import SparkFailed

log = logging.getLogger(__name__)
HANGS_AFTER_S = 600.0  # beyond the limit of a batch's writes
_END_S = 60.0  # to end by itself, once Java is gone


def kill_java() -> None:
    """What waits for Spark fails then, also when its Java is stopped or waits for ever itself."""
    if SparkContext._gateway:
        SparkContext._gateway.proc.kill()


@dataclass(frozen=True, slots=True, kw_only=True)
class Watchdog:
    """Kills Spark's Java when no batch ends for `longest_s`, and this process when that does not end the job.

    batches: how many have ended. is_waiting: whether the job waits for Kafka, which has a limit of its own.
    """

    batches: Callable[[], int]
    is_waiting: Callable[[], bool]
    longest_s: float
    kill: Callable[[], None] = kill_java
    exit_at_once: Callable[[int], None] = os._exit
    end_s: float = _END_S

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look meanwhile, from a thread: the caller itself may hang."""
        is_over = threading.Event()
        thread = threading.Thread(target=self._watch, args=[is_over], name="watchdog", daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()

    def _watch(self, is_over: threading.Event) -> None:
        batches, since_s = self.batches(), time.monotonic()
        while not is_over.wait(min(1.0, self.longest_s)):
            now_s = time.monotonic()
            if self.is_waiting() or self.batches() != batches:
                batches, since_s = self.batches(), now_s
            elif now_s - since_s >= self.longest_s:
                log.error(
                    "no batch has ended for %.0f s: it hangs, so the job ends and can be restarted", now_s - since_s
                )
                self.kill()
                if not is_over.wait(self.end_s):
                    self.exit_at_once(SparkFailed.exit_code)
                return

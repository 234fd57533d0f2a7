"""Looks at the running job ten times a second: what it commits and plans, and what it says about its state."""

import contextlib
import json
import re
import threading
import time
from pathlib import Path

from tests.faults.offsets import committed, ends_of, newest, numbers, time_ms_of

EVERY_S = 0.1
SPOKEN = re.compile(r" (WARNING|ERROR) |^error:")


class Witness:
    """Collects while it is entered. `stored`: gives the messages that the store knows of.

    batches: number -> {partition: first offset after it}, of all that were planned; Spark forgets the old ones.
    times_ms: number -> the time that Spark gave it.
    signs: (monotonic time, what) of each line of warning, each time the health file turns not ready, and each exit.
    commits: monotonic time of each look that saw a new one.
    """

    def __init__(self, scorer, topic, stored):
        self.scorer, self.topic, self.stored = scorer, topic, stored
        self.checkpoint = Path(scorer.environment["RISK_CHECKPOINT"])
        self.batches, self.times_ms, self.signs, self.commits, self.faults = {}, {}, [], [], []
        self._newest = -1
        self._read, self._was_ready = 0, True
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_looking, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        """Look once more, and no more after that."""
        if self._ended.is_set():
            return
        if not self._thread.is_alive():
            self.faults.append("the witness ended before the scenario did")
        self._ended.set()
        self._thread.join()
        self.look()
        for batch in [number for number in self.batches if number > self._newest]:  # planned, and never done
            del self.batches[batch], self.times_ms[batch]

    def sign_since(self, began, of):
        """The first that was seen at `began` or later and in which `of`, a pattern, is found; None without one."""
        return next((what for at, what in list(self.signs) if at >= began and of.search(what)), None)

    def commit_after_s(self, at):
        """Seconds from `at` to the next commit; None when there has been none."""
        later = [when for when in list(self.commits) if when >= at]
        return round(min(later) - at, 1) if later else None

    def note_exit(self, code):
        self.signs.append((time.monotonic(), f"exit {code}"))

    def look(self):
        self._look_at_commits()
        self._look_at_plans()
        self._look_at_lines()
        self._look_at_health()

    def _keep_looking(self):
        while not self._ended.wait(EVERY_S):
            self.look()

    def _look_at_commits(self):
        """I7: what is committed has been stored before."""
        if (number := newest(self.checkpoint / "spark" / "commits")) != self._newest:
            self._newest = number
            self.commits.append(time.monotonic())
        done = committed(self.checkpoint / "spark", self.topic)  # first: the store may only be ahead of it
        stored = self.stored()
        if done > stored and not self.faults:
            self.faults.append(f"I7: {done} messages are committed, but the store has {stored}")

    def _look_at_plans(self):
        spark = self.checkpoint / "spark"
        for batch in set(numbers(spark / "offsets")) - set(self.batches):
            ends, time_ms = ends_of(spark, batch, self.topic), time_ms_of(spark, batch)
            if ends and time_ms is not None:
                self.batches[batch], self.times_ms[batch] = ends, time_ms

    def _look_at_lines(self):
        with contextlib.suppress(FileNotFoundError), (self.scorer.folder / "terminal.txt").open("rb") as terminal:
            terminal.seek(self._read)
            new = terminal.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._read += len(whole)
            spoken = [line for line in whole.decode(errors="replace").splitlines() if SPOKEN.search(line)]
            self.signs += [(time.monotonic(), f"line: {line[:200]}") for line in spoken]

    def _look_at_health(self):
        """A job that is only starting says nothing by being not ready."""
        with contextlib.suppress(FileNotFoundError, ValueError):
            health = json.loads((self.checkpoint / "health.json").read_text(encoding="utf-8"))
            is_ready = health.get("ready", False) or health.get("reason", "").startswith(("starting", "stopped"))
            if self._was_ready and not is_ready:
                self.signs.append((time.monotonic(), f"health: {health.get('reason')}"))
            self._was_ready = is_ready

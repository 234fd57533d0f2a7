"""Looks at the running job ten times a second: what it commits and plans, and what it says of each fault."""

import contextlib
import json
import re
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

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
        spark = self.checkpoint / "spark"
        if (number := newest(spark / "commits")) != self._newest:
            self._newest = number
            self.commits.append(time.monotonic())
        done = committed(spark, self.topic)  # first: the store may only be ahead of it
        stored = self.stored()
        if done > stored and not self.faults:
            self.faults.append(f"I7: {done} messages are committed, but the store has {stored}")
        for batch in set(numbers(spark / "offsets")) - set(self.batches):
            ends, time_ms = ends_of(spark, batch, self.topic), time_ms_of(spark, batch)
            if ends and time_ms is not None:
                self.batches[batch], self.times_ms[batch] = ends, time_ms
        with contextlib.suppress(FileNotFoundError), (self.scorer.folder / "terminal.txt").open("rb") as terminal:
            terminal.seek(self._read)
            new = terminal.read()
            whole = new[: new.rfind(b"\n") + 1]
            self._read += len(whole)
            spoken = [line for line in whole.decode(errors="replace").splitlines() if SPOKEN.search(line)]
            self.signs += [(time.monotonic(), f"line: {line[:200]}") for line in spoken]
        with contextlib.suppress(FileNotFoundError, ValueError):
            health = json.loads((self.checkpoint / "health.json").read_text(encoding="utf-8"))
            # A job that is only starting says nothing by being not ready.
            is_ready = health.get("ready", False) or health.get("reason", "").startswith(("starting", "stopped"))
            if self._was_ready and not is_ready:
                self.signs.append((time.monotonic(), f"health: {health.get('reason')}"))
            self._was_ready = is_ready

    def _keep_looking(self):
        while not self._ended.wait(EVERY_S):
            self.look()


def newest(folder):
    """The highest batch number in a folder of Spark's checkpoint; -1 without one."""
    return max(numbers(folder), default=-1)


def numbers(folder):
    with contextlib.suppress(FileNotFoundError):
        return [int(path.name) for path in folder.iterdir() if path.name.isdigit()]
    return []


def ends_of(spark, batch, topic):
    """By partition, the first offset after a batch; empty where its file is gone or says nothing of the topic."""
    return {int(partition): end for partition, end in (_written_of(spark, batch, topic) or {}).items()}


def time_ms_of(spark, batch):
    """The time that Spark gave a batch, the same at each of its tries; None where its file is gone or not whole yet."""
    return _written_of(spark, batch, "batchTimestampMs")


def _written_of(spark, batch, name):
    with contextlib.suppress(FileNotFoundError):
        for line in (spark / "offsets" / str(batch)).read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):
                record = json.loads(line)
                if isinstance(record, dict) and name in record:
                    return record[name]
    return None


def committed(spark, topic):
    """Messages up to the end of the newest committed batch."""
    return sum(ends_of(spark, newest(spark / "commits"), topic).values())


# Seconds of effect after which I9 wants a sign. The job asks every 5 s whether somebody listens where Kafka was; one
# that listens and is silent shows by a minute without a batch; a write that is not taken is said at the next try.
SAID_AFTER_S = {
    **dict.fromkeys(("broker_restart", "broker_kill"), 8.0),
    **dict.fromkeys(("broker_freeze", "kafka_down", "kafka_hangs"), 65.0),
    **dict.fromkeys(("store_down", "store_hangs"), 6.0),
}

# What a sign must speak of to be one of this fault. That no batch was stored for a minute may come of either.
SIDES = {
    "broker": re.compile(r"Kafka|dead letters|exit 5|no batch has been stored"),
    "store": re.compile(r"store|[Ii]nflux|write|exit 6|no batch has been stored"),
}


def covered_s(spans, first, last):
    """Seconds between `first` and `last` that lie in any of the spans, (begin, end) each."""
    covered, until = 0.0, first
    for begin, end in sorted(spans):
        begin, end = max(begin, until), min(end, last)
        if end > begin:
            covered, until = covered + end - begin, end
    return covered


@dataclass
class Injected:
    """One fault. `log`: monotonic times at which faults of its place met something; it grows."""

    kind: str
    log: list
    began: float = field(default_factory=time.monotonic)
    ended: float | None = None  # None: it is over at once
    sign: str | None = None
    back_s: float | None = None  # from its end to the next commit, without the time of other faults
    is_judged: bool = False

    @property
    def side(self):
        return "broker" if self.kind.startswith(("broker", "kafka")) else "store"

    @property
    def hits(self):
        """How often it met a connection, a write, or an event that was being sent."""
        return sum(self.began <= at <= (self.ended or at) for at in list(self.log))

    @property
    def effect_s(self):
        """From the first that it met to its end."""
        first = min((at for at in list(self.log) if at >= self.began), default=None)
        return 0.0 if first is None or self.ended is None else max(0.0, self.ended - first)

    def judge(self, witness, others=()):
        """To be called when the job has recovered: what it says later is not of this fault.

        others: all faults. While another one lasts no job can come back, and that time is not counted.
        """
        if self.is_judged:
            return
        self.sign, self.is_judged = witness.sign_since(self.began, SIDES[self.side]), True
        if self.ended is not None and (after_s := witness.commit_after_s(self.ended)) is not None:
            spans = [(other.began, other.ended) for other in others if other is not self and other.ended is not None]
            self.back_s = round(after_s - covered_s(spans, self.ended, self.ended + after_s), 1)

    @property
    def was_silent(self):
        """I9 is broken: long enough to matter, and the job has said nothing of it until it had recovered."""
        return self.sign is None and self.effect_s >= SAID_AFTER_S.get(self.kind, float("inf"))

"""Faults as they were brought about: whether they met anything, how long they lasted, and what the job said of them."""

import re
import time
from dataclasses import dataclass, field

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

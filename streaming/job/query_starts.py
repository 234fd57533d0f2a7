"""When the job starts Spark's query again, and when it gives up."""

from dataclasses import dataclass

from schemas.errors import BrokerUnavailable, RiskError

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
_STEP_S = 5.0  # time servers slow a clock down and never set it back further than this


@dataclass(slots=True)
class RestartPauses:
    """Pauses before a new query when Kafka or the store failed the last one. A published batch makes them short."""

    longest_s: float
    _since_s: float | None = None
    _batches: int = 0
    _starts: int = 0

    def pause_s(self, now_s: float, batches: int, failure: RiskError | None = None) -> float:
        """How long to wait before the next start; longer each time. now_s: steady. batches: published until now.

        Raises `failure`, or BrokerUnavailable without one, when no start led to a batch for `longest_s`.
        """
        if self._since_s is None or batches > self._batches:
            self._since_s, self._batches, self._starts = now_s, batches, 0
        elif now_s - self._since_s >= self.longest_s:
            raise failure or BrokerUnavailable(
                f"Kafka answers, but Spark could not read from it for {now_s - self._since_s:.0f} s; nothing is lost",
                remedy="look at the brokers' log and at the address that they advertise, and check that this machine "
                "can reach each of them",
            )
        self._starts += 1
        return min(_FIRST_PAUSE_S * 2.0 ** (self._starts - 1), _LONGEST_PAUSE_S)


class ClockSetBack(Exception):
    """The machine's clock was set back: Spark's next batch would wait until the clock is where it was."""


@dataclass(slots=True)
class ClockWatch:
    """Compares the machine's clock with a steady one."""

    trigger_s: float
    _ahead_s: float | None = None

    def look(self, wall_s: float, steady_s: float) -> None:
        """Raises ClockSetBack when the wall clock has gone back by more than a trigger and five seconds."""
        ahead_s, before_s = wall_s - steady_s, self._ahead_s
        self._ahead_s = ahead_s
        if before_s is not None and before_s - ahead_s > self.trigger_s + _STEP_S:
            raise ClockSetBack(f"the clock of this machine was set back by {before_s - ahead_s:.0f} s")

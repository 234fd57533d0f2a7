"""Asks the triggers of each region again and again. An ask that fails is said, kept and repeated; it ends nothing."""

import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from lifecycle.gate.asked import Outcome, keep_asked, read_asked
from schemas.errors import ArtifactError, GateClosed, RiskError
from schemas.spec import HOUR_S

RETRY_S = HOUR_S  # after an ask that failed
_LOOK_S = 300.0  # for regions that are due


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """`ask` gives what became of a region's ask and why, or raises. `say` prints a line. `now_s`: epoch seconds."""

    artifacts: Path
    ask: Callable[[str], tuple[Outcome, str]]
    say: Callable[[str], None]
    now_s: Callable[[], float]

    def once(self, region: str) -> Exception | None:
        """Ask now, and say what became of it.

        Gives why no challenger is tried, which the caller says: GateClosed when one was due, anything else when the
        ask failed, or could not be kept. Where nothing can be kept, nothing is asked.
        """
        fault: Exception | None = None
        try:
            self._keep(region, "failed", "it did not come to its end")  # first: it may be killed
            outcome, because = self.ask(region)
        except Exception as error:
            fault = error
            outcome, because = _of_fault(error)
        else:
            self.say(f"{region}: {outcome}: {because}")
        try:
            self._keep(region, outcome, because)
        except (RiskError, OSError) as error:
            return fault or error
        return fault

    def each_once(self, regions: Iterable[str]) -> Exception | None:
        """Ask each now. Gives the first fault, for the caller to say; those after it are said here."""
        first: Exception | None = None
        for region in regions:
            if (fault := self.once(region)) and first:
                self.say_fault(region, fault)
            first = first or fault
        return first

    def say_fault(self, region: str, fault: Exception) -> None:
        """What `once` gave, in words; of an error that nobody expects, with its trace."""
        if not isinstance(fault, RiskError):
            self.say("".join(traceback.format_exception(fault)))
        self.say(f"{region}: {': '.join(_of_fault(fault))}")

    def for_ever(self, regions: Callable[[], Iterable[str]], every_s: float, sleep: Callable[[float], None]) -> None:
        """Ask each region every `every_s`, and one that failed after RETRY_S. Only an exception of `sleep` ends it."""
        asked_s: dict[str, float] = {}  # in this process: where nothing can be kept, the files do not say it
        while True:
            try:
                for region in regions():
                    if not self._is_due(region, every_s, asked_s.get(region)):
                        continue
                    if fault := self.once(region):
                        self.say_fault(region, fault)
                    asked_s[region] = self.now_s()
            except (RiskError, OSError) as error:  # the registry or the folder is away: no region can be asked
                self.say(f"nobody can be asked: {error}")
            sleep(_LOOK_S)

    def _keep(self, region: str, outcome: Outcome, because: str) -> None:
        keep_asked(self.artifacts, region, outcome, " ".join(because.split())[:1000], now_s=int(self.now_s()))

    def _is_due(self, region: str, every_s: float, asked_s: float | None) -> bool:
        retry_s = min(RETRY_S, every_s)
        if asked_s is not None and abs(self.now_s() - asked_s) < retry_s:
            return False
        try:
            before = read_asked(self.artifacts, region)
        except ArtifactError:
            return True
        if before is None:
            return True
        wait_s = retry_s if before.outcome == "failed" else every_s
        return abs(self.now_s() - before.at_s) >= wait_s  # a clock that was set back must not stop the asking


def _of_fault(fault: Exception) -> tuple[Outcome, str]:
    if isinstance(fault, RiskError):
        return "refused" if isinstance(fault, GateClosed) else "failed", str(fault)
    return "failed", f"{type(fault).__name__}: {fault}"

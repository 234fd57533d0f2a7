"""Asks the triggers of each region. An ask that fails is said, kept and repeated; it ends nothing."""

import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from lifecycle.gate.asked import Outcome, keep_asked, read_asked
from schemas.errors import ArtifactError, GateClosed, RegistryError, RiskError
from schemas.spec import DAY_S, HOUR_S

EVERY_S, RETRY_S = DAY_S, HOUR_S  # after an ask, and after one that failed


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

    def each(self, regions: Iterable[str], *, due_alone: bool = False) -> Exception | None:
        """Ask each now. Gives the first fault, for the caller to say; those after it are said here.

        due_alone: only those that were last asked a day ago, or an hour ago if that failed, so that it may be called
        as often as one likes. A refusal is no fault then, and a failure stays one until the next ask.
        """
        first: Exception | None = None
        for region in regions:
            fault = self._failed(region) if due_alone and not self._is_due(region) else self.once(region)
            is_answer = due_alone and isinstance(fault, GateClosed)
            if fault and (first or is_answer):
                self.say_fault(region, fault)
            first = first or (None if is_answer else fault)
        return first

    def say_fault(self, region: str, fault: Exception) -> None:
        """What `once` gave, in words; of an error that nobody expects, with its trace."""
        if not isinstance(fault, RiskError):
            self.say("".join(traceback.format_exception(fault)))
        self.say(f"{region}: {': '.join(_of_fault(fault))}")

    def _failed(self, region: str) -> RegistryError | None:
        """Of a region that need not be asked again yet."""
        before = read_asked(self.artifacts, region)
        if before is None or before.outcome != "failed":
            return None
        return RegistryError(
            f"the last ask of {region} failed ({before.because})", "nothing: it is asked again an hour after that"
        )

    def _keep(self, region: str, outcome: Outcome, because: str) -> None:
        keep_asked(self.artifacts, region, outcome, " ".join(because.split())[:1000], now_s=int(self.now_s()))

    def _is_due(self, region: str) -> bool:
        try:
            before = read_asked(self.artifacts, region)
        except ArtifactError:
            return True
        if before is None:
            return True
        wait_s = RETRY_S if before.outcome == "failed" else EVERY_S
        return abs(self.now_s() - before.at_s) >= wait_s  # a clock that was set back must not stop the asking


def _of_fault(fault: Exception) -> tuple[Outcome, str]:
    if isinstance(fault, RiskError):
        return "refused" if isinstance(fault, GateClosed) else "failed", str(fault)
    return "failed", f"{type(fault).__name__}: {fault}"

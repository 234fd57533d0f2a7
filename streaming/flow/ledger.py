"""The ledger: what became of each message that was consumed, by region and for those of no region; and its point."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from models.counting.count_state import OUTCOMES
from schemas.errors import LedgerUnbalanced
from schemas.event import REASONS
from schemas.incidents import Rejection
from schemas.spec import Spec
from streaming.sinks.line_protocol import point_line

OUTCOMES_SHOWN = ("consumed", *OUTCOMES, "rejected")
UNASSIGNED = ""  # the region of messages that name no region of the roster


def balanced_ledger(consumed: int, outcomes: Mapping[str, int], rejections: list[Rejection]) -> dict[str, int]:
    """consumed = counted + corrected + duplicate + excluded + rejected, or LedgerUnbalanced."""
    reasons = Counter(f"rejected_{one.reason}" for one in rejections)
    seen = {"consumed": consumed, **outcomes, "rejected": len(rejections)}
    ledger = {name: seen.get(name, 0) for name in OUTCOMES_SHOWN}
    if not is_balanced(ledger):
        raise LedgerUnbalanced(f"{ledger}: outcomes do not add up to what was consumed", remedy="please report this")
    return ledger | dict(sorted(reasons.items()))


def is_balanced(ledger: Mapping[str, int]) -> bool:
    """Whether consumed = counted + corrected + duplicate + excluded + rejected."""
    consumed, *outcomes = (ledger.get(name, 0) for name in OUTCOMES_SHOWN)
    return consumed == sum(outcomes)


def add_up(totals: Mapping[str, int], ledger: Mapping[str, int]) -> dict[str, int]:
    return {name: totals.get(name, 0) + ledger.get(name, 0) for name in {**totals, **ledger}}


def tick_of(as_of_s: int, spec: Spec | None) -> int:
    """Start of the tick that a region's clock is in. spec: None for messages of no region, with ticks of a minute."""
    return as_of_s - as_of_s % (spec.tick_s if spec else 60)


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelinePoint:
    """The `pipeline` point of a region's batch."""

    region: str
    tick_s: int
    as_of_s: int
    totals: Mapping[str, int]
    # The newest counted incident; before the first, the end of the artifact's history, so that a feed that never
    # connected is silent too. 0 for messages of no region.
    newest_event_s: int = 0
    model: str | None = None  # of the scores that the batch renewed, if it did

    def line(self, of_the_machine: Mapping[str, float]) -> bytes:
        none = dict.fromkeys((f"rejected_{reason}" for reason in REASONS), 0)  # else the first of a reason is no step
        fields: dict[str, float | int | str] = {**none, **self.totals, "as_of": self.as_of_s, **of_the_machine}
        if self.newest_event_s:
            fields["silent_s"] = max(0, self.as_of_s - self.newest_event_s)
        if self.model:
            fields["model"] = self.model
        return point_line("pipeline", {"region": self.region or "_unassigned"}, fields, self.tick_s)

"""The ledger: what became of each message that was consumed, by region and for those of no region."""

from collections import Counter
from collections.abc import Mapping

from models.counting.count_state import OUTCOMES
from schemas.errors import LedgerUnbalanced
from schemas.incidents import Rejection
from schemas.spec import Spec

OUTCOMES_SHOWN = ("consumed", *OUTCOMES, "rejected")
UNASSIGNED = ""  # the region of messages that name no region of the roster


def balanced_ledger(consumed: int, outcomes: Mapping[str, int], rejections: list[Rejection]) -> dict[str, int]:
    """consumed = counted + corrected + duplicate + repeated + excluded + rejected, or LedgerUnbalanced."""
    reasons = Counter(f"rejected_{rejection.reason}" for rejection in rejections)
    counts = {"consumed": consumed, **outcomes, "rejected": len(rejections)}
    ledger = {name: counts.get(name, 0) for name in OUTCOMES_SHOWN}
    if not is_balanced(ledger):
        raise LedgerUnbalanced(f"{ledger}: outcomes do not add up to what was consumed", remedy="please report this")
    return ledger | dict(sorted(reasons.items()))


def is_balanced(ledger: Mapping[str, int]) -> bool:
    """Whether consumed = counted + corrected + duplicate + repeated + excluded + rejected."""
    consumed, *outcomes = (ledger.get(name, 0) for name in OUTCOMES_SHOWN)
    return consumed == sum(outcomes)


def add_up(totals: Mapping[str, int], ledger: Mapping[str, int]) -> dict[str, int]:
    return {name: totals.get(name, 0) + ledger.get(name, 0) for name in {**totals, **ledger}}


def tick_of(as_of_s: int, spec: Spec | None) -> int:
    """Start of the tick that a region's clock is in. spec: None for messages of no region, with ticks of a minute."""
    return as_of_s - as_of_s % (spec.tick_s if spec else 60)

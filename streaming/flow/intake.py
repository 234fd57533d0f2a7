"""What becomes of a batch's messages, without Spark: counted, refused by the clock, balanced.

The stream, `check` and `rebuild` all use these functions, so the three agree.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from models.counting.count_state import Applied, CountState
from schemas.covariate import Values, without_place
from schemas.event import Reason
from schemas.incidents import Incidents, Rejection
from schemas.limits import CLOCKS_DIFFER_S, MIB
from streaming.flow.ledger import balanced_ledger

# A batch has at most as many tasks as there are cores (source.py), so partitions of the topic share a task. All refused
# messages of a batch meet in one worker and in the driver: without a limit a flood of invalid messages (1.6 million x
# 8 KiB) would end the job, and again at every start.
PAYLOADS_PER_TASK = 4 * MIB


class Intake(NamedTuple):
    """A counted batch of one region."""

    applied: Applied
    rejections: list[Rejection]  # of the decoder and of the clock
    ledger: dict[str, int]


def take_in(
    state: CountState, incidents: Incidents, refused: Sequence[Rejection], *, as_of_s: int, consumed: int
) -> Intake:
    """Count a batch in `state`. refused: what the decoder refused. Raises LedgerUnbalanced."""
    applied = state.apply(incidents, as_of_s)
    rejections = [
        *refused,
        *_refused_by_clock(incidents, applied.future, "future", "ahead of the region's clock"),
        *_refused_by_clock(incidents, applied.late, "late", "older than the time that incidents are remembered"),
    ]
    return Intake(applied, rejections, balanced_ledger(consumed, applied.outcomes, rejections))


class OutsideIntake(NamedTuple):
    """A batch of one region's outside series."""

    rejections: list[Rejection]  # of the decoder and of the clock
    ledger: dict[str, int]  # empty without messages
    has_changed: bool  # what is known


def take_in_outside(state: CountState, values: Values, refused: Sequence[Rejection]) -> OutsideIntake:
    """Take in values of outside series (PLACED_VALUE) at the state's clock. refused: what the decoder refused.

    Every message is accepted, unused (known already, replaced, or for an hour that can enter no score) or rejected.
    """
    if not len(values) and not refused:
        return OutsideIntake([], {}, has_changed=False)
    values = values[np.lexsort((values["kafka_offset"], values["partition"]))]
    is_ahead = values["issued_s"] > state.as_of_s + CLOCKS_DIFFER_S
    rejections = [*refused, *map(_issued_ahead, values[is_ahead])]
    held = state.know(without_place(values[~is_ahead]))
    ledger = {"accepted": int(held.sum()), "unused": int((~held).sum()), "rejected": len(rejections)}
    return OutsideIntake(
        rejections, {f"covariates_{name}": count for name, count in ledger.items()}, has_changed=bool(held.any())
    )


def within(refused: Sequence[Rejection], room: int) -> tuple[list[Rejection], int]:
    """The rejections, without the payloads for which `room` bytes are not enough, and the room that is left."""
    within_room = []
    for rejection in refused:
        size = len(rejection.payload or b"")
        if size > room:
            within_room.append(msgspec.structs.replace(rejection, payload=None))
        else:
            within_room.append(rejection)
            room -= size
    return within_room, room


def _issued_ahead(value: Any) -> Rejection:
    """The rejection of a value of PLACED_VALUE that claims to come from the future."""
    partition, offset, time_ms = (int(value[name]) for name in ("partition", "kafka_offset", "kafka_time_ms"))
    return Rejection("future", "issued_at is ahead of the region's clock", partition, offset, time_ms)


def _refused_by_clock(incidents: Incidents, where: Any, reason: Reason, detail: str) -> list[Rejection]:
    return [Rejection.at(incidents, index, reason, detail) for index in np.asarray(where).tolist()]

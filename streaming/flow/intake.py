"""What becomes of a batch's messages, without Spark: counted, refused by the clock, balanced.

The stream and `check` both use these functions, so the two agree.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np

from models.counting.count_state import Applied, CountState
from schemas.event import Reason
from schemas.incidents import Incidents, Rejection
from schemas.limits import MIB
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


def _refused_by_clock(incidents: Incidents, where: Any, reason: Reason, detail: str) -> list[Rejection]:
    return [Rejection.at(incidents, index, reason, detail) for index in np.asarray(where).tolist()]

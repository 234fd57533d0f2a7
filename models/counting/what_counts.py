"""Which of the incidents that are known count: by their own last revision, and where asked, by what they repeat."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from models.counting.registry import Records, Registry, reached
from models.counting.repeated_calls import WITHIN_S, Calls, repeats
from schemas.incidents import CANCELLED, COUNTED_ORIGIN

# Bits of a record's `flags`, beside those of an incident.
IN_HISTORY = 4  # the history counts it
REPEATED = 8  # it repeats an earlier one, which counts in its place


def is_live(records: Records) -> npt.NDArray[np.bool_]:
    """Which records the counts hold, or would hold if they did not repeat another."""
    return np.asarray((records.flags & (COUNTED_ORIGIN | CANCELLED | IN_HISTORY)) == COUNTED_ORIGIN)


def counting(records: Records) -> npt.NDArray[np.bool_]:
    """(n,) whether the counts hold each record."""
    return np.asarray(is_live(records) & ((records.flags & REPEATED) == 0))


def reconsidered(
    registry: Registry, changed: Records, entries: npt.NDArray[np.int32], *, forget_before_s: int
) -> tuple[Records, npt.NDArray[np.int32]]:
    """The changed records with their REPEATED bits, and further ones whose bit changes with them; their numbers.

    found: the number of each changed one in the registry, which still has its old record. An incident is a repeat if
    the rule says so of all that are known and live, in whatever order they were reported. Whether one from before
    `forget_before_s` is a repeat no longer changes: until then all that it may repeat are still in the registry.
    """
    old = registry.entries(entries[entries >= 0])
    times_s = np.sort(np.concatenate([old.occurred_s, changed.occurred_s]))
    numbers = np.setdiff1d(registry.near(times_s, WITHIN_S), entries)
    records = Records.concatenate([changed, registry.entries(numbers)])
    asked = np.flatnonzero(is_live(records) & (records.occurred_s >= forget_before_s - WITHIN_S))
    repeated = np.zeros(len(records), np.bool_)
    repeated[asked] = repeats(Calls.of(records.select(asked)))
    is_open = (records.occurred_s >= forget_before_s) & reached(records.occurred_s, times_s, WITHIN_S)
    flags = np.where(is_open, records.flags & ~np.uint8(REPEATED) | repeated * np.uint8(REPEATED), records.flags)
    takes_part = flags != records.flags
    takes_part[: len(changed)] = True
    return replace(records, flags=flags).select(takes_part), np.concatenate([entries, numbers])[takes_part]

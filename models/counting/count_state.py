"""Counting: from incidents in any order, batching and repetition to exact counts per cell and category.

One class for history and stream. Integers only, so adding commutes and a correction subtracts what was added.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from models.counting.pyramid import LevelBins
from models.counting.registry import Records, Registry
from schemas.incidents import CANCELLED, COUNTED_ORIGIN, Incidents
from schemas.spec import Spec

OUTCOMES = ("counted", "corrected", "duplicate", "excluded")
IN_HISTORY = 4  # bit of a record's `flags`, beside those of an incident: the history counts it


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What became of a batch: outcomes, the incidents refused by the clock, and the records that changed."""

    outcomes: Mapping[str, int]
    future: npt.NDArray[np.intp]  # positions of incidents ahead of the clock
    late: npt.NDArray[np.intp]  # positions of incidents older than the registry remembers
    changed: Records  # those with a new revision, and those that are remembered longer now

    @property
    def newest_counted_s(self) -> int:
        """When the newest of the changed incidents that count happened; 0 without one."""
        return int(self.changed.occurred_s[_counting(self.changed)].max(initial=0))


class CountState:
    """Counts and registry of one region. `as_of_s` is its clock: given from outside, never going back.

    `history_end_s` is the end of the history that the counts began with, 0 where they began with none. Of what happened
    before it the counts know the number, but not the ids that it is told with. `first_day` (days since 1970) is the
    first that the counts cover from its start, 0 where that is not known.
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.as_of_s = 0
        self.history_end_s = 0
        self.first_day = 0
        self.levels = {level.name: LevelBins.empty(level, spec) for level in spec.levels}
        self.registry = Registry()

    def advance(self, as_of_s: int) -> None:
        """Move the clock to `as_of_s` (a step back is ignored) and forget what fell out of every level."""
        self.as_of_s = max(self.as_of_s, as_of_s)
        for level in self.levels.values():
            level.advance(self.as_of_s)

    def apply(self, incidents: Incidents, as_of_s: int) -> Applied:
        """Advance to `as_of_s` and take in a batch. Every incident has exactly one outcome.

        Same id and revision <= the known one: duplicate. An origin that the spec does not count: excluded (it
        still replaces an earlier revision). First sight: counted. Else, a cancellation or a higher revision:
        corrected, which takes back the old count and adds the new one.

        An incident that at first sight lies before `history_end_s` is in the history, once and for all: it and its
        corrections are excluded.
        """
        self.advance(as_of_s)
        is_future = incidents.occurred_s > self.as_of_s + self.spec.future_limit_s
        is_late = incidents.occurred_s < self.as_of_s - self.spec.registry_keep_s
        judged = np.flatnonzero(~(is_future | is_late))
        batch = incidents if len(judged) == len(incidents) else incidents.select(judged)

        order = np.argsort(batch.key, kind="stable")
        batch = batch.select(order)
        first = np.ones(len(batch), bool)
        first[1:] = batch.key[1:] != batch.key[:-1]
        group = np.cumsum(first) - 1
        found = self.registry.find(batch.key[first])
        known = self.registry.entries(np.maximum(found, 0))
        remembered = (found >= 0) & (known.latest_s >= self.forget_before_s)
        known_revision = np.where(remembered, known.revision, -1).astype(np.int64)
        known_latest_s = np.where(remembered, known.latest_s, 0)
        latest_s = np.maximum(known_latest_s, np.maximum.reduceat(batch.occurred_s, np.flatnonzero(first)))
        in_history = np.where(remembered, (known.flags & IN_HISTORY) != 0, batch.occurred_s[first] < self.history_end_s)

        ranked = (group << 33) + batch.revision.astype(np.int64) + 1  # revisions comparable within a group
        floor = (np.arange(len(found), dtype=np.int64) << 33) + known_revision + 1
        highest = np.maximum.accumulate(np.maximum(ranked, floor[group]))
        before = np.where(first, floor[group], np.concatenate([[0], highest[:-1]]))
        supersedes = ranked > before

        counts = ((batch.flags & COUNTED_ORIGIN) != 0) & ~in_history[group]
        cancelled = (batch.flags & CANCELLED) != 0
        unseen = before == (group << 33)
        outcomes = {
            "counted": int(np.count_nonzero(supersedes & counts & unseen & ~cancelled)),
            "corrected": int(np.count_nonzero(supersedes & counts & ~(unseen & ~cancelled))),
            "duplicate": int(np.count_nonzero(~supersedes)),
            "excluded": int(np.count_nonzero(supersedes & ~counts)),
        }

        last = np.flatnonzero(supersedes)
        last = last[np.append(group[last][1:] != group[last][:-1], True)] if len(last) else last
        revised = Records(
            key=batch.key[last],
            occurred_s=batch.occurred_s[last],
            revision=batch.revision[last],
            cell=batch.cell[last],
            category=batch.category[last],
            flags=batch.flags[last] | in_history[group[last]] * np.uint8(IN_HISTORY),
            latest_s=latest_s[group[last]],
        )
        prolonged = remembered & (latest_s > known_latest_s)  # by a duplicate with a later event time
        prolonged[group[last]] = False
        changed = Records.concatenate([revised, replace(known.select(prolonged), latest_s=latest_s[prolonged])])
        found = np.concatenate([found[group[last]], found[prolonged]])
        self.settle(changed, forget_before_s=self.forget_before_s, found=found)
        return Applied(
            outcomes=outcomes, future=np.flatnonzero(is_future), late=np.flatnonzero(is_late), changed=changed
        )

    @property
    def forget_before_s(self) -> int:
        """Incidents whose latest event time is earlier can no longer be corrected; their ids count as unseen."""
        return self.as_of_s - self.spec.registry_keep_s

    def settle(self, records: Records, *, forget_before_s: int, found: npt.NDArray[np.int32] | None = None) -> None:
        """Replace what is known of these incidents (different keys) and move their counts accordingly.

        An old record whose latest event time lies before `forget_before_s` keeps its count: whether the registry has
        dropped it yet must not matter.
        """
        found = self.registry.find(records.key) if found is None else found
        replaced = self.registry.entries(found[found >= 0])
        replaced = replaced.select(replaced.latest_s >= forget_before_s)
        for revision, sign in ((replaced, -1), (records, 1)):
            adds = _counting(revision)
            place = revision.cell[adds].astype(np.intp) * len(self.spec.categories) + revision.category[adds]
            for level in self.levels.values():
                level.add(revision.occurred_s[adds], place, sign)
        self.registry.put(records, found)

    def shape(self, places: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """(places,) as (cells, categories)."""
        return places.reshape(self.spec.grid.cells, len(self.spec.categories))

    def window(self, level: str, bins: int) -> npt.NDArray[np.int32]:
        """(cells, categories) counts of the newest `bins` bins of a level, the unfinished one included."""
        return self.shape(self.levels[level].sum_of_newest(bins))


def _counting(records: Records) -> npt.NDArray[np.bool_]:
    """Those that the counts hold."""
    return np.asarray((records.flags & (COUNTED_ORIGIN | CANCELLED | IN_HISTORY)) == COUNTED_ORIGIN)

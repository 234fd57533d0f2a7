"""Counting: from incidents in any order, batching and repetition to exact counts per cell and category.

One class for history and stream. Integers only, so adding commutes and a correction subtracts what was added. Counts
stand in bins of three widths, a pyramid. From them come the horizons that have closed and the days that are over.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from models.counting.count_registry import (
    IN_HISTORY,
    REPEATED,
    WITHIN_S,
    Records,
    Registry,
    counting,
    is_live,
    reconsidered,
)
from schemas.errors import CheckpointError
from schemas.forecasts import GRACE_S, ClosedHorizon, last_grace_s
from schemas.incidents import CANCELLED, COUNTED_ORIGIN, Incidents
from schemas.spec import DAY_S, HOUR_S, Level, Spec

CHUNK_BINS = 32  # bins that are stored together
_NEVER = -(1 << 40)  # number of a bin before all times
_ENTRY = np.dtype([("bin", "<i8"), ("place", "<i4"), ("count", "<i4")])
_REVISIONS = 1 << 33  # more than there are
OUTCOMES = ("counted", "corrected", "duplicate", "repeated", "excluded")
MOST_HOURS = 48  # that are judged at once after an outage
BIN_S = 300  # of a finished day's counts
_BINS = DAY_S // BIN_S


@dataclass(slots=True)
class LevelBins:
    """A ring of bins of one level. A bin is (cells * categories,), place = cell * categories + category."""

    level: Level
    places: int
    ahead: int  # bins kept beyond the current one, for events that are ahead of the clock within the limit
    ring: npt.NDArray[np.int32]  # (keep + ahead, places)
    newest: int  # number of the current bin: as_of // width
    dirty: set[int]  # chunks that changed since they were last stored
    past_version: int = 0  # grows when a finished bin changes or the current one moves on: a key for caches

    @classmethod
    def empty(cls, level: Level, spec: Spec) -> "LevelBins":
        places = spec.grid.cells * len(spec.categories)
        ahead = spec.ahead(level)
        return cls(level, places, ahead, np.zeros((level.keep + ahead, places), np.int32), _NEVER, set())

    @property
    def oldest(self) -> int:
        return self.newest - self.level.keep + 1

    def advance(self, as_of_s: int) -> None:
        """Make the bin that covers `as_of_s` the newest; bins that fall out are zeroed and forgotten."""
        step = as_of_s // self.level.width_s - self.newest
        if step <= 0:
            return
        slots = len(self.ring)
        first = self.newest + self.ahead + 1
        self.ring[np.arange(first, first + min(step, slots)) % slots] = 0
        self.newest += step
        self.past_version += 1

    def add(self, occurred_s: npt.NDArray[np.int64], place: npt.NDArray[np.intp], sign: int) -> None:
        """Add `sign` to the bin of each event; events outside the ring are past or beyond remembering."""
        bins = occurred_s // self.level.width_s
        in_reach = (bins >= self.oldest) & (bins <= self.newest + self.ahead)
        if not in_reach.all():
            bins, place = bins[in_reach], place[in_reach]
        np.add.at(self.ring.ravel(), (bins % len(self.ring)) * self.places + place, np.int32(sign))
        if len(bins):
            self.past_version += bool(bins.min() < self.newest)
            self.dirty.update(np.unique(bins // CHUNK_BINS).tolist())

    def sum_of_newest(self, bins: int, *, skip: int = 0) -> npt.NDArray[np.int32]:
        """Counts of the `bins` newest bins (the current, unfinished one first) after leaving out `skip`: (places,)."""
        last = self.newest - skip
        start, stop = (last - bins + 1) % len(self.ring), last % len(self.ring) + 1
        if bins == 0:
            return np.zeros(self.places, np.int32)
        parts = (self.ring[start:stop],) if start < stop else (self.ring[start:], self.ring[:stop])
        return np.asarray(sum(part.sum(axis=0, dtype=np.int32) for part in parts))

    def newest_bins(self, bins: int, *, skip: int = 0) -> npt.NDArray[np.int32]:
        """The `bins` newest bins, oldest first, after leaving out the `skip` newest: (bins, places), a copy."""
        numbers = np.arange(self.newest - skip - bins + 1, self.newest - skip + 1)
        return self.ring[numbers % len(self.ring)]

    def pack_chunk(self, chunk: int) -> bytes:
        """The non-zero counts of the chunk's live bins; empty when there are none."""
        first = max(chunk * CHUNK_BINS, self.oldest)
        last = min(chunk * CHUNK_BINS + CHUNK_BINS - 1, self.newest + self.ahead)
        bins = np.arange(first, last + 1)
        block = self.ring[bins % len(self.ring)]
        row, place = np.nonzero(block)
        entries = np.empty(len(row), _ENTRY)
        entries["bin"], entries["place"], entries["count"] = bins[row], place, block[row, place]
        return entries.tobytes()

    def unpack_chunk(self, packed: bytes) -> None:
        """Take over a chunk's counts. Raises IndexError for a place that the level does not have."""
        entries = np.frombuffer(packed, _ENTRY)
        if (entries["place"] < 0).any():
            raise IndexError("a place before the first")
        live = entries[(entries["bin"] >= self.oldest) & (entries["bin"] <= self.newest + self.ahead)]
        self.ring[live["bin"] % len(self.ring), live["place"]] = live["count"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What became of a batch: outcomes, the incidents refused by the clock, and the records that changed."""

    outcomes: Mapping[str, int]
    ahead_of_clock: npt.NDArray[np.intp]  # positions of incidents that are refused as `future`
    older_than_memory: npt.NDArray[np.intp]  # of those that the registry no longer remembers, refused as `late`
    changed: Records  # those with a new revision, and those that are remembered longer now

    @property
    def newest_counted_s(self) -> int:
        """When the newest of the changed incidents that count, or that repeat one, happened; 0 without one."""
        return int(self.changed.occurred_s[is_live(self.changed)].max(initial=0))


class CountState:
    """Counts and registry of one region. `as_of_s` is its clock: given from outside, never going back.

    `history_end_s` is the end of the history that the counts began with, 0 without a history. Earlier incidents are
    known as counts only, without ids. `first_day` (days since 1970) is the first that the counts
    cover from its start, 0 where that is not known.

    >>> from schemas.grid import Grid
    >>> grid = Grid(south_deg=41.5, west_deg=-88.0, cell_m=1000, rows=2, cols=3)
    >>> spec = Spec(region="mycity", timezone="UTC", grid=grid, categories=("fire",), features=("cell_1h",))
    >>> state = CountState(spec)
    >>> state.advance(1_800_000_030)
    >>> state.tick_s
    1800000000
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.as_of_s = 0
        self.history_end_s = 0
        self.first_day = 0
        self.levels = {level.name: LevelBins.empty(level, spec) for level in spec.levels}
        self.registry = Registry(has_places=spec.merges_calls)

    def advance(self, as_of_s: int) -> None:
        """Move the clock to `as_of_s` (a step back is ignored) and forget what fell out of every level."""
        self.as_of_s = max(self.as_of_s, as_of_s)
        for level in self.levels.values():
            level.advance(self.as_of_s)

    @property
    def tick_s(self) -> int:
        """Start of the tick that the clock is in: the moment that features are for."""
        return self.as_of_s - self.as_of_s % self.spec.tick_s

    def apply(self, incidents: Incidents, as_of_s: int) -> Applied:
        """Advance to `as_of_s` and count a batch. Every message has exactly one outcome.

        Same id and revision <= the known one: duplicate. An origin that the spec does not count: excluded (it
        still replaces an earlier revision). First sight: counted. Else, a cancellation or a higher revision:
        corrected, which removes the old count and adds the new one.

        An incident that at first sight lies before `history_end_s` belongs to the history for good: it and its
        corrections are excluded.

        Where the spec merges repeated calls, what would be counted or corrected is `repeated` if its incident ends the
        batch as a repeat. Which incidents are repeats follows from all that are known, see `reconsidered`.
        """
        self.advance(as_of_s)
        is_ahead = incidents.occurred_s > self.as_of_s + self.spec.future_limit_s
        is_too_old = incidents.occurred_s < self.forget_before_s
        in_time = np.flatnonzero(~(is_ahead | is_too_old))
        batch = incidents.select(in_time[np.argsort(incidents.key[in_time], kind="stable")])
        # Its messages by incident: the first of each, and (messages,) the number of the incident, from 0.
        is_first = np.ones(len(batch), np.bool_)
        is_first[1:] = batch.key[1:] != batch.key[:-1]
        number = np.cumsum(is_first) - 1
        # What is known of each incident; of one that is unknown, `known` means nothing.
        entry = self.registry.find(batch.key[is_first])
        known = self.registry.entries(np.maximum(entry, 0))
        is_known = (entry >= 0) & (known.latest_s >= self.forget_before_s)
        known_latest_s = np.where(is_known, known.latest_s, 0)
        latest_s = np.maximum(known_latest_s, np.maximum.reduceat(batch.occurred_s, np.flatnonzero(is_first)))
        first_s = batch.occurred_s[is_first]
        in_history = np.where(is_known, (known.flags & IN_HISTORY) != 0, first_s < self.history_end_s)
        # A rank orders by incident, then by revision; -1 is the revision of an unknown incident.
        rank, unknown_rank = number * _REVISIONS + batch.revision, number * _REVISIONS - 1
        known_rank = number * _REVISIONS + np.where(is_known, known.revision, -1)[number]
        highest = np.maximum.accumulate(np.maximum(rank, known_rank))
        before = np.where(is_first, known_rank, np.concatenate([known_rank[:1], highest[:-1]]))
        supersedes, is_new = rank > before, before == unknown_rank
        # The last revision of an incident stays. A duplicate with a later event time changes only how long its incident
        # is remembered.
        superseding = np.flatnonzero(supersedes)
        last = superseding[np.append(np.diff(number[superseding]) > 0, True)] if len(superseding) else superseding
        revised = Records(
            key=batch.key[last],
            occurred_s=batch.occurred_s[last],
            revision=batch.revision[last],
            cell=batch.cell[last],
            category=batch.category[last],
            flags=batch.flags[last] | in_history[number[last]] * np.uint8(IN_HISTORY),
            latest_s=latest_s[number[last]],
            place=batch.place[last, : known.place.shape[1]],
        )
        prolonged = is_known & (latest_s > known_latest_s)
        prolonged[number[last]] = False
        longer = replace(known.select(prolonged), latest_s=latest_s[prolonged])
        changed = Records.concatenate([revised, longer])
        entry = np.concatenate([entry[number[last]], entry[prolonged]])
        is_repeat = np.zeros(len(batch), np.bool_)
        if self.spec.merges_calls:
            changed, entry = reconsidered(self.registry, changed, entry, forget_before_s=self.forget_before_s)
            is_repeat = np.isin(batch.key, changed.key[(changed.flags & REPEATED) != 0])
        self.settle(changed, forget_before_s=self.forget_before_s, entries=entry)
        is_excluded = ((batch.flags & COUNTED_ORIGIN) == 0) | in_history[number]
        counts = ~is_excluded & ~is_repeat
        is_first_count = is_new & ((batch.flags & CANCELLED) == 0)
        of_outcomes = {
            "counted": supersedes & counts & is_first_count,
            "corrected": supersedes & counts & ~is_first_count,
            "duplicate": ~supersedes,
            "repeated": supersedes & ~is_excluded & is_repeat,
            "excluded": supersedes & is_excluded,
        }
        return Applied(
            outcomes={name: int(np.count_nonzero(messages)) for name, messages in of_outcomes.items()},
            ahead_of_clock=np.flatnonzero(is_ahead),
            older_than_memory=np.flatnonzero(is_too_old),
            changed=changed,
        )

    @property
    def forget_before_s(self) -> int:
        """Incidents whose latest event time is earlier can no longer be corrected; their ids count as unseen."""
        return self.as_of_s - self.spec.registry_keep_s

    @property
    def asked_from_s(self) -> int:
        """An incident that can still be corrected, or of which it may change whether it repeats another, asks for none
        that happened earlier.
        """
        return self.forget_before_s - (WITHIN_S if self.spec.merges_calls else 0)

    @property
    def drop_before_s(self) -> int:
        """Records whose latest event time is earlier may be dropped.

        They can no longer be corrected, and the last day that they may be of was closed before the clock's own day:
        the counts that are kept at the start of a day hold every record of the day that it closes. Nor are they asked.
        """
        closed_s = (self.as_of_s // DAY_S * DAY_S - self.spec.registry_keep_s) // DAY_S * DAY_S
        return min(closed_s, self.asked_from_s)

    def settle(self, records: Records, *, forget_before_s: int, entries: npt.NDArray[np.int32] | None = None) -> None:
        """Replace what is known of these incidents (different keys) and move their counts accordingly.

        An old record whose latest event time lies before `forget_before_s` keeps its count: whether the registry has
        dropped it yet must not matter.
        """
        entries = self.registry.find(records.key) if entries is None else entries
        replaced = self.registry.entries(entries[entries >= 0])
        replaced = replaced.select(replaced.latest_s >= forget_before_s)
        for revision, sign in ((replaced, -1), (records, 1)):
            occurred_s, place = self._places(revision)
            for level in self.levels.values():
                level.add(occurred_s, place, sign)
        self.registry.put(records, entries)

    def _places(self, revision: Records) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.intp]]:
        """Times and places (cell * categories + category) of the records that the counts hold."""
        adds = counting(revision)
        place = revision.cell[adds].astype(np.intp) * len(self.spec.categories) + revision.category[adds]
        return revision.occurred_s[adds], place

    def shape(self, places: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """(places,) as (cells, categories)."""
        return places.reshape(self.spec.grid.cells, len(self.spec.categories))


def horizons_closed_between(state: CountState, before_s: int) -> Iterator[ClosedHorizon]:
    """Horizons that are to be judged now and were not at `before_s`, the state's clock one batch earlier.

    Each is judged twice: soon after its end, and once more when late reports have come. Horizons are whole hours, so
    that a sum of the hour level is exact.
    """
    spec, hours = state.spec, state.levels["hour"]
    bins_kept = hours.level.keep
    for grace_s in (GRACE_S, last_grace_s(spec)):
        last = (state.as_of_s - grace_s) // HOUR_S  # the newest hour that is judged by now
        first = max((before_s - grace_s) // HOUR_S + 1, last - MOST_HOURS + 1)
        for end in range(first, last + 1):
            skip = hours.newest - end + 1
            for number, horizon_s in enumerate(spec.horizons_s):
                bins = horizon_s // HOUR_S
                if skip + bins <= bins_kept:
                    yield ClosedHorizon(
                        horizon=number,
                        tick_s=end * HOUR_S - horizon_s,
                        judged_s=end * HOUR_S + grace_s,
                        observed=state.shape(hours.sum_of_newest(bins, skip=skip)),
                    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DayCounts:
    """A UTC day's incidents, one row for each cell, category and bin that has any, in that order."""

    day: int  # days since 1970
    cell: npt.NDArray[np.int32]
    category: npt.NDArray[np.int16]  # position in the spec's categories
    bin: npt.NDArray[np.int16]  # begins `bin * BIN_S` seconds after midnight UTC
    count: npt.NDArray[np.int32]
    by_hour: int = 0  # incidents whose bin is not known, only their hour
    open: int = 0  # incidents that a message may still move or cancel: an earlier message gave them a later time
    cut_hours: int | None = None  # bit h is 1: the hour from h:00 UTC says nothing of the city; None: not known

    @property
    def incidents(self) -> int:
        return int(self.count.sum())

    @classmethod
    def binned(
        cls,
        day: int,
        place: npt.NDArray[np.int64],
        bin_: npt.NDArray[np.int64],
        count: npt.NDArray[np.int64],
        spec: Spec,
    ) -> "DayCounts":
        """The day's counts, from those at places (cell x categories + category) and bins, which may repeat."""
        row, inverse = np.unique(place * _BINS + bin_, return_inverse=True)
        at, in_bin = np.divmod(row, _BINS)
        cell, category = np.divmod(at, len(spec.categories))
        return cls(
            day=day,
            cell=cell.astype(np.int32),
            category=category.astype(np.int16),
            bin=in_bin.astype(np.int16),
            count=np.bincount(inverse, count).astype(np.int32),
        )


def newest_closed(clock_s: int, spec: Spec) -> int:
    """The newest day of which every message is refused as late once the clock is there."""
    return (clock_s - spec.registry_keep_s) // DAY_S - 1


def oldest_day(state: CountState) -> int:
    """The oldest day whose hours are all there."""
    return -(-state.levels["hour"].oldest * HOUR_S // DAY_S)


def counts_of_day(state: CountState, day: int, *, clock_s: int) -> DayCounts:
    """The counts of a day that is closed when the clock is `clock_s`.

    The registry knows each incident to the second, but forgets. The level of hours does not, so it is the measure: what
    it has beyond the registry is given at the start of its hour.

    Raises CheckpointError when the registry has an incident that the level of hours does not count.
    """
    records = state.registry.records()
    records = records.select(counting(records) & (records.occurred_s // DAY_S == day))
    place = records.cell.astype(np.int64) * len(state.spec.categories) + records.category
    bin_ = records.occurred_s % DAY_S // BIN_S
    level = state.levels["hour"]
    hours = np.arange(day * DAY_S // HOUR_S, (day + 1) * DAY_S // HOUR_S)
    missing = level.ring[hours % len(level.ring)].copy()  # (24, places)
    missing[(hours < level.oldest) | (hours > level.newest + level.ahead)] = 0  # the clock has not reached them
    np.subtract.at(missing, (bin_ * BIN_S // HOUR_S, place), 1)
    if missing.min() < 0:
        raise CheckpointError(
            f"the counts of {state.spec.region} are damaged: the registry has {-int(missing[missing < 0].sum())} "
            f"incidents of day {day} since 1970 that the level of hours lacks",
            remedy="restore the checkpoint, or leave this day to an agency's file",
        )
    hour, at = np.nonzero(missing)
    counts = DayCounts.binned(
        day,
        np.concatenate([place, at]),
        np.concatenate([bin_, hour * (HOUR_S // BIN_S)]),
        np.concatenate([np.ones_like(place), missing[hour, at]]),
        state.spec,
    )
    return replace(
        counts,
        by_hour=int(missing.sum()),
        open=int(np.count_nonzero(records.latest_s >= clock_s - state.spec.registry_keep_s)),
    )

"""The pyramid: incident counts per cell and category in bins of three widths, integers only."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.spec import Level, Spec

CHUNK_BINS = 32  # bins that are stored together
_NEVER = -(1 << 40)  # number of a bin before all times
_ENTRY = np.dtype([("bin", "<i8"), ("place", "<i4"), ("count", "<i4")])


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

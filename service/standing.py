"""How long cells stand among the riskiest while no incident is counted in them: they are held by past counts.

It is known from the frames that one process has read: its start, another grid, or frames that lie further apart than
their counts reach begin anew. An incident that is reported more than an hour late is not seen.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from schemas.frame import riskiest
from schemas.grid import Grid
from schemas.left_behind.frame_file import StoredFrames
from schemas.spec import HOUR_S

HELD_HOURS = 24.0  # every hour of the day is in it, so that a place which is quiet by night alone is not held
_LISTED = 10  # cells


@dataclass(frozen=True, slots=True)
class Standing:
    """since_s: (category, place of the horizon, cell) -> the as_of since which it stands there without an incident."""

    watched_since_s: int
    as_of_s: int
    grid: Grid
    since_s: Mapping[tuple[str, int, int], int]

    def held(self, category: str, horizon: int, hours: float) -> list[int]:
        """The cells that stand for so many hours, the riskiest first."""
        last_s = self.as_of_s - hours * HOUR_S
        stands = ((place, since_s) for place, since_s in self.since_s.items() if place[:2] == (category, horizon))
        return [cell for (*_, cell), since_s in stands if since_s <= last_s]


def standing_after(before: Standing | None, frames: StoredFrames) -> Standing:
    """What is known with a region's next frames. Without history in the category a cell does not stand anywhere."""
    spec, as_of_s = frames.by_category.spec, frames.by_category.as_of_s
    if before and not (before.grid == spec.grid and 0 <= as_of_s - before.as_of_s <= HOUR_S - spec.slide_s):
        before = None
    known, now_s = before.since_s if before else {}, {}
    for view in (frames.by_category, frames.over_all):
        for column, category in enumerate(view.categories):
            for horizon in range(len(spec.horizons_s)):
                for cell in riskiest(
                    view.risk[:, column, horizon], view.expected[:, column, horizon], _LISTED
                ).tolist():
                    place, is_seen = (category, horizon, cell), view.observed_1h[cell, column] > 0
                    if view.support[cell, column] > 0:
                        now_s[place] = as_of_s if is_seen else known.get(place, as_of_s)
    return Standing(before.watched_since_s if before else as_of_s, as_of_s, spec.grid, now_s)

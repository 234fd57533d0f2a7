"""A day of calls with units that are busy: who goes, and when it is there.

Source of the rules: a call takes the nearest free unit, also one on its way back; a call is served for a lognormal
time; units drive straight lines x DETOUR at one speed.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.readiness.demand import Demand
from models.readiness.question import Posts
from models.readiness.reach import Drive, Reach, by_straight_line, metres_of
from schemas.grid import Cells, Floats, Grid

DRIVE = Drive(minutes=8, speed_kmh=40)
SERVICE_SIGMA = 0.5  # spread of the logarithm


@dataclass(frozen=True, kw_only=True)
class CityOfCalls:
    """What the baseline expects at the start of the last 15 % of the time, and the calls of that time."""

    grid: Grid
    demand: Demand
    at_s: npt.NDArray[np.int64]  # (calls,)
    call_m: Floats  # (calls, 2)

    def reach(self, cells: Cells, drive: Drive = DRIVE) -> Reach:
        """From the middle of some cells."""
        return by_straight_line(self.grid, self.places_m(cells), drive)

    def places_m(self, cells: Cells) -> Floats:
        lat, lon = self.grid.centres()
        return metres_of(self.grid, lat[cells], lon[cells])

    def kept(self, posts_m: Floats, drive: Drive) -> npt.NDArray[np.bool_]:
        """(calls,) which of them lie within reach of a post."""
        return np.any([np.hypot(*(self.call_m - post).T) <= drive.metres for post in posts_m], axis=0)


@dataclass(kw_only=True)
class Fleet:
    """Units that stand at posts, drive to calls, and drive back. Times in seconds, places in metres."""

    drive: Drive = DRIVE
    post_m: Floats  # (units, 2)
    left_m: Floats  # where each was last busy
    left_s: Floats  # and until when: before, it is not free

    @classmethod
    def at(cls, post_m: Floats, drive: Drive = DRIVE) -> "Fleet":
        return cls(drive=drive, post_m=post_m.copy(), left_m=post_m.copy(), left_s=np.full(len(post_m), -np.inf))

    @property
    def metres_a_second(self) -> float:
        return self.drive.metres / (60 * self.drive.minutes)

    def where(self, now_s: float) -> Floats:
        """(units, 2) on the way from the last call to the post."""
        way = self.post_m - self.left_m
        metres = np.maximum(np.hypot(*way.T), 1e-9)
        driven = np.clip((now_s - self.left_s) * self.metres_a_second / metres, 0, 1)
        return self.left_m + driven[:, None] * way

    def answer(self, call_m: Floats, now_s: float, service_s: float) -> tuple[int, float, float]:
        """The unit that goes, when it starts, and when it is there; without a free one the first that will be."""
        free = self.left_s <= now_s
        start_s = now_s if free.any() else float(self.left_s.min())
        if not free.any():
            free = self.left_s <= start_s
        metres = np.where(free, np.hypot(*(self.where(start_s) - call_m).T), np.inf)
        unit = int(np.argmin(metres))
        there_s = start_s + metres[unit] / self.metres_a_second
        self.left_m[unit], self.left_s[unit] = call_m, there_s + service_s
        return unit, start_s, there_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """in_time: (calls,) whether a unit was there within the drive's minutes."""

    in_time: npt.NDArray[np.bool_]
    busy: float


def simulate(
    city: CityOfCalls, places_m: Floats, posts: Posts, service_minutes: float, drive: Drive = DRIVE
) -> Simulated:
    """All calls in their order."""
    random = np.random.default_rng(7)
    mean_log = np.log(60 * service_minutes) - SERVICE_SIGMA**2 / 2
    service_s = random.lognormal(mean_log, SERVICE_SIGMA, len(city.at_s))
    fleet = Fleet.at(places_m[list(posts)], drive)
    in_time, busy_s = np.zeros(len(city.at_s), np.bool_), 0.0
    for call, (at_s, call_m) in enumerate(zip(city.at_s.tolist(), city.call_m, strict=True)):
        _, start_s, there_s = fleet.answer(call_m, at_s, service_s[call])
        busy_s += there_s - start_s + service_s[call]
        in_time[call] = there_s - at_s <= 60 * drive.minutes
    span_s = int(city.at_s[-1] - city.at_s[0])
    return Simulated(in_time=in_time, busy=busy_s / span_s / len(posts))

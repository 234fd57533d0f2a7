"""A day of calls with units that are busy: who goes, when it is there, and what a rule may move.

Source of the rules: a call takes the nearest free unit, also one on its way back; a call is served for a lognormal
time; units drive straight lines x DETOUR at one speed.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from models.readiness.choose import moves_worth_it, place_for_one_more
from models.readiness.demand import Demand
from models.readiness.question import Posts, Question
from models.readiness.reach import Drive, Reach, by_straight_line, metres_of
from schemas.grid import Cells, Floats, Grid
from schemas.spec import HOUR_S

DRIVE = Drive(minutes=8, speed_kmh=40)
SERVICE_SIGMA = 0.5  # spread of the logarithm
SHIFT_HOURS = 12


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

    def go(self, unit: int, place_m: Floats, now_s: float) -> None:
        """A free unit changes its post."""
        self.left_m[unit], self.left_s[unit] = self.where(now_s)[unit], now_s
        self.post_m[unit] = place_m

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


Rule = Callable[["Fleet", float, list[int]], int]  # moves before a call; the posts' places change with it


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """in_time: (calls,) whether a unit was there within the drive's minutes."""

    in_time: npt.NDArray[np.bool_]
    busy: float
    moves: float  # of a unit in SHIFT_HOURS
    work_varies: float  # standard deviation over mean of the jobs of a unit


def simulate(
    city: CityOfCalls,
    places_m: Floats,
    posts: Posts,
    service_minutes: float,
    rule: Rule | None = None,
    drive: Drive = DRIVE,
) -> Simulated:
    """All calls in their order. rule: may move free units once an hour, or place a unit that becomes free."""
    random = np.random.default_rng(7)
    mean_log = np.log(60 * service_minutes) - SERVICE_SIGMA**2 / 2
    service_s = random.lognormal(mean_log, SERVICE_SIGMA, len(city.at_s))
    fleet, standing = Fleet.at(places_m[list(posts)], drive), list(posts)
    jobs, in_time, moves, busy_s = np.zeros(len(posts)), np.zeros(len(city.at_s), np.bool_), 0, 0.0
    for call, (at_s, call_m) in enumerate(zip(city.at_s.tolist(), city.call_m, strict=True)):
        if rule:
            moves += rule(fleet, at_s, standing)
        unit, start_s, there_s = fleet.answer(call_m, at_s, service_s[call])
        jobs[unit] += 1
        busy_s += there_s - start_s + service_s[call]
        in_time[call] = there_s - at_s <= 60 * drive.minutes
    span_s = int(city.at_s[-1] - city.at_s[0])
    return Simulated(
        in_time=in_time,
        busy=busy_s / span_s / len(posts),
        moves=moves / len(posts) / (span_s / HOUR_S / SHIFT_HOURS),
        work_varies=float(jobs.std() / jobs.mean()),
    )


def hourly(question: Question, places_m: Floats, *, least_gain: float, back_within_s: float = 0) -> Rule:
    """Once an hour free units may move, where a move gains so much; those that are free soon count at their posts."""
    last = [-np.inf]

    def rule(fleet: Fleet, now_s: float, standing: list[int]) -> int:
        if now_s < last[0] + HOUR_S:
            return 0
        last[0], is_free = now_s, fleet.left_s <= now_s
        back = np.flatnonzero(~is_free & (fleet.left_s <= now_s + back_within_s)).tolist()
        units = [*back, *np.flatnonzero(is_free).tolist()]
        if not units:
            return 0
        posts = tuple(standing[unit] for unit in units)
        asked = replace(question, units=len(units), fixed=posts[: len(back)])
        moves = list(moves_worth_it(asked, posts, least_gain=least_gain, most_moves=len(units)))
        for move in moves:
            standing[units[move.unit]] = move.place
            fleet.go(units[move.unit], places_m[move.place], now_s)
        return len(moves)

    return rule


def freed(question: Question, places_m: Floats) -> Rule:
    """A unit that has become free goes where it adds most to those that are free: no move of any other."""
    was_busy: set[int] = set()

    def rule(fleet: Fleet, now_s: float, standing: list[int]) -> int:
        free = set(np.flatnonzero(fleet.left_s <= now_s).tolist())
        for unit in sorted(was_busy & free, key=lambda each: fleet.left_s[each]):
            others = tuple(standing[each] for each in sorted(free - was_busy))
            place = place_for_one_more(question, others).place
            was_busy.discard(unit)
            standing[unit], fleet.post_m[unit] = place, places_m[place]
        was_busy.update(set(range(len(standing))) - free)
        return 0

    return rule

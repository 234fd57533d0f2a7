"""The best posts for a question, and the moves from given posts that are worth it.

Greedy choice (Nemhauser, Wolsey and Fisher, Mathematical Programming 14, 1978), then exchanges of one unit at a time
until none gains, and the same from random posts. An area below its floor outweighs every gain.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from models.readiness.question import EQUAL, Posts, Question
from schemas.grid import Floats

RESTARTS, _FLOOR_RESTARTS = 20, 5
Allowed = npt.NDArray[np.bool_]  # (places,) those that may be gone to
_LACKING = 1000.0  # what a share below a floor weighs, of gains that are at most 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """unit: its number among the posts; place: where it should go; gain: in the share of expected calls served."""

    unit: int
    place: int
    gain: float


@dataclass(frozen=True, kw_only=True)
class _Choice:
    """One unit more, to units that stand already. needed: (areas,) as `Question.needed`."""

    question: Question
    needed: Floats

    @cached_property
    def near(self) -> Floats:
        """(places,) mean minutes to the expected calls within reach: of equal places the nearer is better."""
        question, reach = self.question, self.question.reach
        minutes = np.add.reduceat(question.weight[reach.point] * reach.minutes, reach.start[:-1])
        mean: Floats = minutes / np.maximum(reach.sums(question.weight), np.finfo(np.float64).tiny)
        return mean

    def values(self, posts: Posts) -> Floats:
        """(places,) the objective with one more unit at each place, less what floors lack."""
        question, reach = self.question, self.question.reach
        covered = reach.covered(posts)
        busy = question.left[covered]
        values: Floats = (question.weight * (1 - busy)).sum() + reach.sums(question.weight * busy * (1 - question.busy))
        bare = question.weight * (covered == 0)
        lacks = self.needed - question.inside @ (question.weight - bare)
        for area in np.flatnonzero(lacks > EQUAL):
            more = reach.sums(bare * question.inside[area])
            values = values - _LACKING * np.maximum(lacks[area] - more - EQUAL, 0)
        return values

    def best(self, posts: Posts, allowed: Allowed | None = None) -> tuple[int, float]:
        """The best place for one more unit, of those that are allowed, and the value with it."""
        return self.best_of(self.values(posts), allowed)

    def best_of(self, values: Floats, allowed: Allowed | None = None) -> tuple[int, float]:
        """values: as `values` gives them."""
        if allowed is not None:
            values = np.where(allowed, values, -np.inf)
        equal = np.flatnonzero(values >= values.max() - EQUAL)
        place = int(equal[np.argmin(self.near[equal])])
        return place, float(values[place])


def choose(question: Question, random: np.random.Generator, *, restarts: int = RESTARTS) -> Posts:
    """The best posts that were found. Whether they keep the floor, `question.lacking` says.

    >>> from models.readiness.reach import Reach
    >>> reach = Reach(cells=3, per_cell=1, start=np.arange(4), point=np.arange(3), minutes=np.ones(3))
    >>> choose(Question(expected=np.array([5.0, 1.0, 4.0]), reach=reach, units=2), np.random.default_rng(0))
    (0, 2)
    """
    choice, free = _Choice(question=question, needed=question.needed), question.units - len(question.fixed)
    posts = question.fixed
    for _ in range(free):
        posts = (*posts, choice.best(posts)[0])
    best, best_value = _exchanged(choice, posts)
    for _ in range(restarts if free else 0):
        drawn = random.integers(0, question.reach.places, free).tolist()
        posts, value = _exchanged(choice, (*question.fixed, *drawn))
        if value > best_value + EQUAL:
            best, best_value = posts, value
    return tuple(sorted(best))


def best_floor(question: Question) -> float:
    """The largest floor below the question's for which posts are found, in thousandths."""
    least, most = 0, int(1000 * question.floor)
    while most - least > 1:
        floor = (least + most) // 2
        asked = replace(question, floor=floor / 1000)
        keeps = asked.lacking(choose(asked, np.random.default_rng(0), restarts=_FLOOR_RESTARTS)) == 0
        least, most = (floor, most) if keeps else (least, floor)
    return least / 1000


def improved(question: Question, posts: Posts) -> Posts:
    """The posts after exchanges of one unit at a time, until none gains."""
    return tuple(sorted(_exchanged(_Choice(question=question, needed=question.needed), posts)[0]))


def _exchanged(choice: _Choice, posts: Posts) -> tuple[Posts, float]:
    """The posts after exchanges that gain, and their value. The first ones are fixed, as the question has them."""
    fixed = len(choice.question.fixed)
    value = choice.question.served(posts) - _LACKING * choice.question.lacking(posts)
    unit, unchanged, standing = fixed, 0, _Standing(choice=choice, posts=posts)
    while unchanged < len(posts) - fixed:
        place, with_it = choice.best_of(standing.values_without(unit))
        unchanged += 1
        if with_it > value + EQUAL:
            posts, value, unchanged = (*posts[:unit], place, *posts[unit + 1 :]), with_it, 0
            standing = _Standing(choice=choice, posts=posts)
        unit = unit + 1 if unit + 1 < len(posts) else fixed
    return posts, value


@dataclass(frozen=True, kw_only=True)
class _Standing:
    """Units where they stand. What one of them alone serves is little: so of all sums only few points change."""

    choice: _Choice
    posts: Posts

    @cached_property
    def _covered(self) -> npt.NDArray[np.int64]:
        return self.choice.question.reach.covered(self.posts)

    @cached_property
    def _all(self) -> Floats:
        """(places,) the objective with one unit more at each place."""
        return self.choice.values(self.posts)

    def values_without(self, unit: int) -> Floats:
        """(places,) `values` of the posts without one unit."""
        question, reach = self.choice.question, self.choice.question.reach
        if len(self.choice.needed):
            return self.choice.values((*self.posts[:unit], *self.posts[unit + 1 :]))
        points = reach.points_of(self.posts[unit])
        alone = question.weight[points] * question.left[self._covered[points] - 1] * (1 - question.busy)
        few = alone > 0
        more = alone[few] * (1 - question.busy)
        values: Floats = self._all - alone.sum() + reach.sums_of(points[few], more)
        return values


def moves_worth_it(
    question: Question, posts: Posts, *, least_gain: float, most_moves: int, allowed: Allowed | None = None
) -> Iterator[Move]:
    """At most `most_moves` moves, the best first, each of another unit, and none below `least_gain`: often none at all.

    posts: where the question's units stand, first those that are fixed. allowed: (units, places) where each may go. No
    area that is at its floor falls below it, and none that is below it loses more.
    """
    within = question.inside @ (question.weight * (question.reach.covered(posts) > 0))
    choice = _Choice(question=question, needed=np.minimum(question.needed, within))
    moved, free = list(posts), list(range(len(question.fixed), len(posts)))
    for _ in range(min(most_moves, len(free))):
        before = question.served(tuple(moved))
        tried = {
            unit: choice.best((*moved[:unit], *moved[unit + 1 :]), None if allowed is None else allowed[unit])
            for unit in free
        }
        unit = max(free, key=lambda each: tried[each][1])
        place, value = tried[unit]
        if value - before < max(least_gain, EQUAL):
            return
        moved[unit] = place
        free.remove(unit)
        yield Move(unit=unit, place=place, gain=value - before)


def place_for_one_more(question: Question, posts: Posts, allowed: Allowed | None = None) -> Move:
    """Where a unit that becomes free adds most to those that are. Source: dynamic MEXCLP, Jagtenberg et al., 2015."""
    place, _ = _Choice(question=question, needed=question.needed).best(posts, allowed)
    gain = question.served((*posts, place)) - question.served(posts)
    return Move(unit=len(posts), place=place, gain=gain)

"""The best posts for a question.

Greedy choice (Nemhauser, Wolsey and Fisher, Mathematical Programming 14, 1978), then exchanges of one unit at a time
until none gains, and the same from random posts. An area below its floor outweighs every gain.
"""

from collections import Counter
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from models.readiness.question import EQUAL, Posts, Question
from schemas.grid import Floats

RESTARTS, _FLOOR_RESTARTS = 20, 5
_LACKING = 1000.0  # what a share below a floor weighs, of gains that are at most 1


def choose(question: Question, random: np.random.Generator, *, restarts: int = RESTARTS) -> Posts:
    """The best posts that were found. Whether they keep the floor, `question.lacking` says.

    >>> from models.readiness.reach import Reach
    >>> reach = Reach(cells=3, per_cell=1, start=np.arange(4), point=np.arange(3), minutes=np.ones(3))
    >>> choose(Question(expected=np.array([5.0, 1.0, 4.0]), reach=reach, units=2), np.random.default_rng(0))
    (0, 2)
    """
    free, posts = question.units - len(question.fixed), question.fixed
    for _ in range(free):
        posts = (*posts, _best(question, _values(question, posts))[0])
    best, best_value = _exchanged(question, posts)
    for _ in range(restarts if free else 0):
        drawn = random.integers(0, question.reach.places, free).tolist()
        posts, value = _exchanged(question, (*question.fixed, *drawn))
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


def without_needless_moves(question: Question, now: Posts, best: Posts, cost: float) -> Posts:
    """The best posts, with each unit left where units are now whose move gains nothing: all together at most `cost`.

    best: posts that keep the floor. now: with the fixed ones.
    """
    least, posts = question.served(best) - cost, best
    for place in (Counter(best) - Counter(now)).elements():
        left = [*(Counter(now) - Counter(posts))]
        if not left:
            break
        rest = [*posts]
        rest.remove(place)
        back, value = _best(question, _values(question, tuple(rest)), np.isin(np.arange(question.reach.places), left))
        posts = tuple(sorted((*rest, back))) if value >= least else posts
    return posts


def _values(question: Question, posts: Posts) -> Floats:
    """(places,) the objective with one more unit at each place, less what floors lack."""
    reach, covered = question.reach, question.reach.covered(posts)
    busy = question.left[covered]
    values: Floats = (question.weight * (1 - busy)).sum() + reach.sums(question.weight * busy * (1 - question.busy))
    bare = question.weight * (covered == 0)
    lacks = question.needed - question.inside @ (question.weight - bare)
    for area in np.flatnonzero(lacks > EQUAL):
        more = reach.sums(bare * question.inside[area])
        values = values - _LACKING * np.maximum(lacks[area] - more - EQUAL, 0)
    return values


def _best(question: Question, values: Floats, allowed: npt.NDArray[np.bool_] | None = None) -> tuple[int, float]:
    """The best place, of those that are allowed, and its value; of equal places that near most calls."""
    if allowed is not None:
        values = np.where(allowed, values, -np.inf)
    equal = np.flatnonzero(values >= values.max() - EQUAL)
    place = int(equal[np.argmin(question.near[equal])])
    return place, float(values[place])


def _exchanged(question: Question, posts: Posts) -> tuple[Posts, float]:
    """The posts after exchanges that gain, and their value. The first ones are fixed, as the question has them."""
    fixed = unit = len(question.fixed)
    value = question.served(posts) - _LACKING * question.lacking(posts)
    unchanged, covered, values = 0, question.reach.covered(posts), _values(question, posts)
    while unchanged < len(posts) - fixed:
        if len(question.needed):
            without = _values(question, (*posts[:unit], *posts[unit + 1 :]))
        else:  # what one unit alone serves is little: so of all sums only few points change
            points = question.reach.points_of(posts[unit])
            alone = question.weight[points] * question.left[covered[points] - 1] * (1 - question.busy)
            few = alone > 0
            more = question.reach.sums_of(points[few], alone[few] * (1 - question.busy))
            without = values - alone.sum() + more
        place, with_it = _best(question, without)
        unchanged += 1
        if with_it > value + EQUAL:
            posts, value, unchanged = (*posts[:unit], place, *posts[unit + 1 :]), with_it, 0
            covered, values = question.reach.covered(posts), _values(question, posts)
        unit = unit + 1 if unit + 1 < len(posts) else fixed
    return posts, value

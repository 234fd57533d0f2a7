"""The best posts proved, as an integer program that HiGHS solves: for stations, and to see how good `choose` is."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array, hstack

from models.readiness.question import EQUAL, Posts, Question

_NEGLIGIBLE = 1e-7  # of a unit's work: so many units do not stand before another one that is free


@dataclass(frozen=True, slots=True, kw_only=True)
class Proved:
    """posts: None where none were found. bound: no posts serve more; is_best: these do so much."""

    posts: Posts | None
    bound: float
    is_best: bool


def solve(question: Question, *, seconds: float = 10.0) -> Proved:
    """The best posts that keep the floor. `posts` is None, with `is_best`, where no posts can keep it.

    Points that the same places reach are one. Each may be served by a first unit, a second, and so on; the m-th is
    worth (1 - busy) * busy ** (m - 1). Their worth falls, so only the numbers of units at places must be whole.
    """
    group, reaches = _groups(question)
    levels, places, groups = _levels(question), question.reach.places, reaches.shape[0]
    identity = csr_array((np.ones(groups), (np.arange(groups), np.arange(groups))))
    served = hstack([-reaches, *[identity] * levels])
    is_place = np.arange(served.shape[1]) < places
    limits = [LinearConstraint(served, -np.inf, 0), LinearConstraint(is_place.astype(float), *[question.units] * 2)]
    if areas := len(question.inside):
        area, point = np.nonzero(question.inside)
        first = csr_array((question.weight[point], (area, group[point])), shape=(areas, groups))
        within = hstack([csr_array((areas, places)), first, csr_array((areas, groups * (levels - 1)))])
        limits.append(LinearConstraint(within, question.needed - EQUAL, np.inf))
    low, high, cost = np.zeros(len(is_place)), np.ones(len(is_place)), np.zeros(len(is_place))
    low[:places] = np.bincount(np.array(question.fixed, np.int64), minlength=places)
    high[:places] = question.units
    weight = np.bincount(group, question.weight, minlength=groups)
    cost[places:] = np.concatenate([-weight * (1 - question.busy) * question.busy**level for level in range(levels)])
    solution = milp(
        cost,
        constraints=limits,
        bounds=Bounds(low, high),
        integrality=is_place,
        options={"time_limit": seconds, "mip_rel_gap": 0.0},
    )
    if solution.x is None:
        return Proved(posts=None, bound=1.0, is_best=solution.status == 2)
    units = np.rint(solution.x[:places]).astype(int)
    posts = tuple(np.repeat(np.arange(places), units).tolist())
    return Proved(posts=posts, bound=-solution.mip_dual_bound + 0.0, is_best=solution.status == 0)


def _groups(question: Question) -> tuple[npt.NDArray[np.intp], csr_array]:
    """(points,) the group of each point, and (groups, places) which places reach each group, as 0 and 1."""
    reach, place = question.reach, np.repeat(np.arange(question.reach.places), np.diff(question.reach.start))
    reached = np.zeros((len(question.weight), reach.places), np.bool_)
    reached[reach.point, place] = True
    alike = np.hstack([np.packbits(reached, axis=1), question.inside.T])
    _, first, group = np.unique(alike, axis=0, return_index=True, return_inverse=True)
    return group.ravel(), csr_array(reached[first].astype(np.float64))


def _levels(question: Question) -> int:
    """How many units may stand one behind the other."""
    if question.busy == 0:
        return 1
    return int(min(question.units, np.ceil(np.log(_NEGLIGIBLE) / np.log(question.busy))))

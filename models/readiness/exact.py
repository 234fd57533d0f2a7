"""The best posts proved, as an integer program that HiGHS solves: for stations, and to see how good `choose` is."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array, csr_array, hstack

from models.readiness.question import EQUAL, Posts, Question
from schemas.grid import Floats

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
    weight = np.bincount(group, question.weight, minlength=reaches.shape[0])
    levels = _levels(question)
    worth = np.concatenate([weight * (1 - question.busy) * question.busy**level for level in range(levels)])
    places, groups = question.reach.places, len(weight)
    served = hstack([coo_array(-reaches), *[_identity(groups)] * levels])
    limits = [LinearConstraint(served, -np.inf, 0), _all_units(places, question.units, served.shape[1])]
    if areas := len(question.needed):
        within = hstack([csr_array((areas, places)), _in_areas(question, group, groups)])
        rest = csr_array((areas, groups * (levels - 1)))
        limits.append(LinearConstraint(hstack([within, rest]), question.needed - EQUAL, np.inf))
    cost = np.concatenate([np.zeros(places), -worth])
    found = milp(
        cost,
        constraints=limits,
        bounds=_bounds(question, places, served.shape[1]),
        integrality=np.arange(len(cost)) < places,
        options={"time_limit": seconds, "mip_rel_gap": 0.0},
    )
    if found.x is None:
        return Proved(posts=None, bound=1.0, is_best=found.status == 2)
    bound = -found.mip_dual_bound + 0.0
    return Proved(posts=_posts(found.x[:places]), bound=bound, is_best=found.status == 0)


def best_floor(question: Question, *, seconds: float = 10.0) -> float:
    """The largest share of each area's calls that posts can keep in all areas at once; the best found in that time."""
    group, reaches = _groups(question)
    places, groups = question.reach.places, reaches.shape[0]
    whole = question.inside @ question.weight
    served = hstack([coo_array(-reaches), _identity(groups), csr_array((groups, 1))])
    within = hstack([csr_array((len(whole), places)), _in_areas(question, group, groups), csr_array(-whole[:, None])])
    columns = served.shape[1]
    found = milp(
        -(np.arange(columns) == columns - 1).astype(np.float64),
        constraints=[
            LinearConstraint(served, -np.inf, 0),
            LinearConstraint(within, 0, np.inf),
            _all_units(places, question.units, columns),
        ],
        bounds=_bounds(question, places, columns),
        integrality=np.arange(columns) < places,
        options={"time_limit": seconds},
    )
    return 0.0 if found.x is None else float(found.x[-1])


def _groups(question: Question) -> tuple[npt.NDArray[np.intp], csr_array]:
    """(points,) the group of each point, and (groups, places) which places reach each group, as 0 and 1."""
    reach = question.reach
    place = np.repeat(np.arange(reach.places), np.diff(reach.start))
    drawn = np.random.default_rng(0).integers(1, 2**31, (2, reach.places))  # points with equal sums have equal places
    key = [np.bincount(reach.point, of_places[place], len(question.weight)) for of_places in drawn]
    key.extend(question.inside.astype(np.float64))
    _, first, group = np.unique(np.stack(key), axis=1, return_index=True, return_inverse=True)
    shape = (len(question.weight), reach.places)
    matrix = csr_array((np.ones(len(reach.point)), (reach.point, place)), shape=shape)
    return group.ravel(), matrix[first]


def _levels(question: Question) -> int:
    """How many units may stand one behind the other."""
    if question.busy == 0:
        return 1
    return int(min(question.units, np.ceil(np.log(_NEGLIGIBLE) / np.log(question.busy))))


def _in_areas(question: Question, group: npt.NDArray[np.intp], groups: int) -> csr_array:
    """(areas, groups) the share of all expected calls."""
    area, point = np.nonzero(question.inside)
    return csr_array((question.weight[point], (area, group[point])), shape=(len(question.inside), groups))


def _all_units(places: int, units: int, columns: int) -> LinearConstraint:
    return LinearConstraint((np.arange(columns) < places).astype(np.float64), units, units)


def _bounds(question: Question, places: int, columns: int) -> Bounds:
    low, high = np.zeros(columns), np.ones(columns)
    low[:places] = np.bincount(np.array(question.fixed, np.int64), minlength=places)
    high[:places] = question.units
    return Bounds(low, high)


def _identity(size: int) -> csr_array:
    return csr_array((np.ones(size), (np.arange(size), np.arange(size))))


def _posts(units: Floats) -> Posts:
    return tuple(np.repeat(np.arange(len(units)), np.rint(units).astype(int)).tolist())

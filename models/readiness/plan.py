"""Fixed posts for a usual week, beside those that there are now: what each promises, and what it kept."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from models.artifact.artifact import Artifact
from models.files.incident_files import IncidentTable
from models.readiness.choose import RESTARTS, choose
from models.readiness.demand import Demand
from models.readiness.exact import best_floor, solve
from models.readiness.judge import Kept, kept
from models.readiness.places import Places
from models.readiness.question import EQUAL, Posts, Question, Shares, shares_of
from models.readiness.reach import Drive, Reach, metres_of
from schemas.errors import DataError
from schemas.grid import Cells, Grid

FEW_PLACES = 500  # so many HiGHS can prove
_FEW_RESTARTS = 3
_PROVED = 1e-4  # of all expected calls


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked of all plans of a region. areas: the cells of each; counted: of them, those with enough
    calls; floored: where the floor holds, if there is one."""

    artifact: Artifact
    demand: Demand
    drive: Drive
    units: int
    busy: float
    floor: float
    areas: Mapping[str, Cells]
    counted: Sequence[str]
    floored: Sequence[str]

    def worst(self, plan: "Plan") -> str | None:
        """Of the areas with enough calls the one with the smallest share within reach."""
        return min(self.counted, key=lambda name: plan.shares.by_area[name], default=None)

    @property
    def grid(self) -> Grid:
        return self.artifact.spec.grid

    def question(self, reach: Reach, *, units: int, fixed: Posts) -> Question:
        return Question(
            expected=self.demand.expected,
            reach=reach,
            units=units,
            busy=self.busy,
            fixed=fixed,
            areas=[self.areas[name] for name in self.floored],
            floor=self.floor,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Posts with a name. posts: positions in `places`; covered, kept: None without calls after the artifact's data."""

    name: str
    places: Places
    posts: Posts
    shares: Shares
    is_best: bool = False  # proved: these places serve no more
    covered: npt.NDArray[np.int64] | None = None  # (calls,) units that reached each
    kept: Kept | None = None
    times_sha256: str = ""  # of a table of driving times


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """Where units may stand. fixed: units that stay; now: posts as they are, by name."""

    name: str
    places: Places
    reach: Reach
    fixed: Posts
    now: Mapping[str, Posts] = field(default_factory=dict)
    times_sha256: str = ""

    def plans(self, asked: Asked, calls: IncidentTable | None) -> Iterator[Plan]:
        """The posts as they are, then the best ones, with what they kept of later calls, which lie in the grid."""
        posts, is_best = best_posts(self, asked, np.random.default_rng(0))
        for name, each in {**self.now, self.name: posts}.items():
            question = asked.question(self.reach, units=len(each), fixed=())
            covered = None if calls is None else self._covered(asked, calls, each)
            yield Plan(
                name=name,
                places=self.places,
                posts=each,
                shares=shares_of(question, each, asked.areas),
                is_best=is_best and name == self.name,
                covered=covered,
                kept=None if covered is None else kept(covered, busy=asked.busy),
                times_sha256=self.times_sha256,
            )

    def _covered(self, asked: Asked, calls: IncidentTable, posts: Posts) -> npt.NDArray[np.int64]:
        """(calls,) units that reach each: by straight line at its real place, by driving times in its cell."""
        if self.times_sha256:
            return self.reach.covered(posts)[asked.grid.locate(calls.lat_deg, calls.lon_deg)[0]]
        of_calls = metres_of(asked.grid, calls.lat_deg, calls.lon_deg)
        of_posts = self.places.metres(asked.grid)[list(posts)]
        covered = np.zeros(len(calls), np.int64)
        for post_m in of_posts:
            covered += np.hypot(*(of_calls - post_m).T) <= asked.drive.metres
        return covered


def best_posts(candidates: Candidates, asked: Asked, random: np.random.Generator) -> tuple[Posts, bool]:
    """The best posts, and whether none are better. Raises DataError, with the best floor, if they cannot keep it."""
    question = asked.question(candidates.reach, units=asked.units, fixed=candidates.fixed)
    few = len(candidates.places) <= FEW_PLACES
    posts = choose(question, random, restarts=RESTARTS if few else _FEW_RESTARTS)
    proved = solve(question) if few else None
    if (
        proved
        and proved.posts is not None
        and (question.lacking(posts) or question.served(proved.posts) > question.served(posts))
    ):
        posts = proved.posts
    if question.lacking(posts) > 0:
        raise _floor_cannot_be_kept(candidates, asked, question, random)
    return posts, proved is not None and proved.bound - question.served(posts) < _PROVED


def _floor_cannot_be_kept(
    candidates: Candidates, asked: Asked, question: Question, random: np.random.Generator
) -> DataError:
    """Which areas no place reaches enough of, else the best floor there is."""
    units = "1 unit" if asked.units == 1 else f"{asked.units} units"
    fault = f"{units} cannot have {asked.floor:.0%} of the calls of each area within reach ({candidates.name})"
    every = question.inside @ (question.weight * (question.reach.covered(tuple(range(question.reach.places))) > 0))
    if far := [name for name, lacks in zip(asked.floored, every < question.needed - EQUAL, strict=True) if lacks]:
        return DataError(
            f"{fault}: none of its places reaches so much of {', '.join(far)}",
            "add a station there (without --stations you see where), give more minutes, or write --no-floor-in AREA",
        )
    few = len(candidates.places) <= FEW_PLACES
    best = best_floor(question) if few else _floor_found(question, random)
    said = f"give --floor {np.floor(1000 * best) / 1000:g}, the best {'there is' if few else 'that was found'}"
    return DataError(fault, f"{said}, or more units or minutes")


def _floor_found(question: Question, random: np.random.Generator) -> float:
    low, high = 0.0, question.floor
    while high - low > 0.01:
        middle = (low + high) / 2
        asked = replace(question, floor=middle)
        low, high = (middle, high) if asked.lacking(choose(asked, random, restarts=0)) == 0 else (low, middle)
    return low

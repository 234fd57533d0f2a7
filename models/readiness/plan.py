"""Fixed posts for a usual week, beside those that there are now: what each promises, and what it kept."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
import numpy.typing as npt

from models.files.incident_files import IncidentTable
from models.readiness.answer import Reached, reached_by
from models.readiness.choose import best_floor, choose
from models.readiness.demand import Demand, Shift
from models.readiness.exact import solve
from models.readiness.places import Place, metres_of_places
from models.readiness.question import EQUAL, Posts, Question
from models.readiness.reach import Drive, Reach, metres_of
from schemas.errors import DataError
from schemas.grid import Cells, Grid

FEW_PLACES = 500  # so many HiGHS can prove
_PROVED = 1e-4  # of all expected calls


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is asked of all plans of a region. areas: the cells of each; floored: those where the floor holds."""

    grid: Grid
    demand: Demand
    shift: Shift
    drive: Drive
    units: int
    busy: float
    floor: float
    areas: Mapping[str, Cells]
    floored: Sequence[str]

    def question(self, reach: Reach, *, units: int, fixed: Posts) -> Question:
        areas = [self.areas[name] for name in self.floored]
        expected, busy, floor = self.demand.expected, self.busy, self.floor
        return Question(expected=expected, reach=reach, units=units, busy=busy, fixed=fixed, areas=areas, floor=floor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """proved_best: of its places no posts have more calls reached by a free unit. kept: shares of later calls, at their
    real places, as `Reached` promises them of expected ones; empty without."""

    plan: str
    reached: Reached
    proved_best: bool
    kept: Mapping[str, float]
    posts: tuple[Place, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """Where units may stand. fixed: units that stay; now: posts as they are, by name."""

    name: str
    places: Sequence[Place]
    reach: Reach
    fixed: Posts
    now: Mapping[str, Posts] = field(default_factory=dict)
    times_sha256: str = ""

    def posts(self, posts: Posts) -> tuple[Place, ...]:
        """By the names of their places."""
        standing = (msgspec.structs.replace(self.places[post], units=units) for post, units in Counter(posts).items())
        return tuple(sorted(standing, key=lambda post: post.place))

    def kept(self, asked: Asked, calls: IncidentTable, posts: Posts) -> dict[str, float]:
        covered = self._covered(asked, calls, posts)
        shares = {"within": covered > 0, "by_a_free_unit": 1 - asked.busy**covered}
        return {name: round(float(share.mean()), 4) for name, share in shares.items()}

    def _covered(self, asked: Asked, calls: IncidentTable, posts: Posts) -> npt.NDArray[np.int64]:
        """(calls,) units that reach each: by straight line at its real place, by driving times in its cell."""
        if self.times_sha256:
            return self.reach.covered(posts)[asked.grid.locate(calls.lat_deg, calls.lon_deg)[0]]
        of_calls = metres_of(asked.grid, calls.lat_deg, calls.lon_deg)
        covered = np.zeros(len(calls), np.int64)
        for post_m in metres_of_places(self.places, asked.grid)[list(posts)]:
            covered += np.hypot(*(of_calls - post_m).T) <= asked.drive.metres
        return covered


def plans_of(choices: Sequence[Candidates], asked: Asked, calls: IncidentTable | None) -> Iterator[Plan]:
    """The posts as they are, then the best ones, with what they kept of later calls, which lie in the grid."""
    for choice in choices:
        best, is_best = best_posts(choice, asked)
        for name, posts in {**choice.now, choice.name: best}.items():
            question = asked.question(choice.reach, units=len(posts), fixed=())
            yield Plan(
                plan=name,
                reached=reached_by(question, posts, asked.areas, asked.floored),
                proved_best=is_best and name == choice.name,
                kept={} if calls is None else choice.kept(asked, calls, posts),
                posts=choice.posts(posts),
            )


def best_posts(choice: Candidates, asked: Asked) -> tuple[Posts, bool]:
    """The best posts, and whether none are better. Raises DataError, with the best floor, if they cannot keep it."""
    question = asked.question(choice.reach, units=asked.units, fixed=choice.fixed)
    posts = choose(question, np.random.default_rng(0))
    proved = solve(question) if len(choice.places) <= FEW_PLACES or question.lacking(posts) else None
    if proved and proved.posts is not None:
        posts = max(posts, proved.posts, key=lambda each: (-question.lacking(each), question.served(each)))
    if question.lacking(posts) > 0:
        raise _floor_cannot_be_kept(choice.name, asked, question)
    return posts, proved is not None and proved.bound - question.served(posts) < _PROVED


def _floor_cannot_be_kept(places: str, asked: Asked, question: Question) -> DataError:
    """Which areas no place reaches enough of, and the best floor there is."""
    every = question.inside @ (question.weight * (question.reach.covered(tuple(range(question.reach.places))) > 0))
    far = [name for name, lacks in zip(asked.floored, every < question.needed - EQUAL, strict=True) if lacks]
    units = "1 unit has" if asked.units == 1 else f"{asked.units} units have"
    return DataError(
        f"no posts found where {units} {asked.floor:.0%} of the calls of each area within reach ({places})"
        + (f": no place reaches so much of {', '.join(far)}" if far else ""),
        f"give --floor {best_floor(question):g}, the best found, more units, minutes or stations, or --areas without "
        "what your units need not reach",
    )

"""Fixed posts for a usual week, beside those that there are now: what each promises, and what it kept."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import msgspec
import numpy as np

from models.files.incident_files import IncidentTable
from models.readiness.answer import Reached, reached_by
from models.readiness.choose import best_floor, choose, without_needless_moves
from models.readiness.demand import Demand
from models.readiness.exact import solve
from models.readiness.places import Place, metres_of_places
from models.readiness.question import EQUAL, Posts, Question
from models.readiness.reach import Drive, metres_of
from schemas.errors import DataError
from schemas.grid import Cells, Grid

FEW_PLACES = 500  # so many HiGHS can prove
_PROVED = 1e-4  # of all expected calls


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedPlans:
    """What all plans of a region share. areas: all that are told; calls: later ones, which lie in the grid."""

    grid: Grid
    demand: Demand
    drive: Drive
    areas: Mapping[str, Cells]
    calls: IncidentTable | None


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
class Places:
    """Where units may stand. now: posts as they are, by name; times_sha256: of a table of driving times."""

    name: str
    places: Sequence[Place]
    question: Question
    now: Mapping[str, Posts] = field(default_factory=dict)
    times_sha256: str = ""

    def plan(self, name: str, posts: Posts, asked: AskedPlans, *, proved_best: bool) -> Plan:
        question = replace(self.question, units=len(posts), fixed=())
        units = Counter(posts).items()
        standing = [msgspec.structs.replace(self.places[post], units=number) for post, number in units]
        return Plan(
            plan=name,
            reached=reached_by(question, posts, asked.areas),
            proved_best=proved_best,
            kept={} if asked.calls is None else self._kept(asked, asked.calls, posts),
            posts=tuple(sorted(standing, key=lambda post: post.place)),
        )

    def _kept(self, asked: AskedPlans, calls: IncidentTable, posts: Posts) -> dict[str, float]:
        """By straight line at each call's real place, by driving times in its cell."""
        if self.times_sha256:
            covered = self.question.reach.covered(posts)[asked.grid.locate(calls.lat_deg, calls.lon_deg)[0]]
        else:
            of_calls = metres_of(asked.grid, calls.lat_deg, calls.lon_deg)
            covered = np.zeros(len(calls), np.int64)
            for post_m in metres_of_places(self.places, asked.grid)[list(posts)]:
                covered += np.hypot(*(of_calls - post_m).T) <= asked.drive.metres
        shares = {"within": covered > 0, "by_a_free_unit": 1 - self.question.left[covered]}
        return {name: round(float(share.mean()), 4) for name, share in shares.items()}


def plans_of(choice: Places, asked: AskedPlans) -> Iterator[Plan]:
    """The posts as they are, then the best ones. Raises DataError, with the best floor found, where none keep it."""
    question = choice.question
    posts = choose(question, np.random.default_rng(0))
    proved = solve(question) if len(choice.places) <= FEW_PLACES or question.lacking(posts) else None
    if proved and proved.posts is not None:
        posts = max(posts, proved.posts, key=lambda each: (-question.lacking(each), question.served(each)))
    if question.lacking(posts) > 0:
        raise _floor_cannot_be_kept(choice)
    for now in choice.now.values():
        posts = without_needless_moves(question, now, posts, _PROVED)
    for name, now in choice.now.items():
        named = name if len(now) == question.units else f"{name}, {len(now)} units"
        yield choice.plan(named, now, asked, proved_best=False)
    is_best = proved is not None and proved.bound - question.served(posts) < _PROVED
    yield choice.plan(choice.name, posts, asked, proved_best=is_best)


def _floor_cannot_be_kept(choice: Places) -> DataError:
    """Which areas no place reaches enough of, and the best floor that was found."""
    question = choice.question
    lacks = question.within_areas(tuple(range(question.reach.places))) < question.needed - EQUAL
    far = [name for name, is_far in zip(question.areas, lacks, strict=True) if is_far]
    units = "1 unit has" if question.units == 1 else f"{question.units} units have"
    return DataError(
        f"no posts found where {units} {question.floor:.0%} of the calls of each area within reach ({choice.name})"
        + (f": no place reaches so much of {', '.join(far)}" if far else ""),
        f"give --floor {best_floor(question):g}, the best found, more units, minutes or stations, or --areas without "
        "what your units need not reach",
    )

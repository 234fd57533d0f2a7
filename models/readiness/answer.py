"""What posts reach, in the form in which the service and the command `posts` write it; and how they are to be read."""

from collections.abc import Mapping
from dataclasses import dataclass

from models.readiness.question import EQUAL, Posts, Question
from schemas.errors import ArtifactError
from schemas.grid import Cells
from schemas.spec import Spec

ASSUMES = (
    "Units drive 1.3 times the straight line at one speed, unless driving times were given, and each is away for the "
    "same share of the time. Roads, hospitals, priorities, turnout and other agencies are not known. Places where "
    "people report less seem to need less."
)


def answered_columns(spec: Spec) -> list[int]:
    """The places of the spec's `answered_by` among its categories. Raises ArtifactError without any."""
    if not spec.answered_by:
        raise ArtifactError(
            f"{spec.region} has no posts: its spec names no category that standing units answer (`answered_by`)",
            "name them when it is trained, as answered_by = ['ems'], for calls that units drive to: ambulances, fire "
            "engines. Posts for crime would be a patrol map, which this program does not make",
        )
    return [spec.categories.index(name) for name in spec.answered_by]


@dataclass(frozen=True, slots=True, kw_only=True)
class AreaReach:
    """within: share of the area's expected calls; None where none are. floor_kept: None where no floor holds."""

    area: str
    expected: float
    within: float | None
    floor_kept: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """Shares of the expected calls: within reach of a post, by a unit that is not busy, within reach of two."""

    units: int
    expected: float
    within: float
    by_a_free_unit: float
    by_two: float
    floor: float
    areas: tuple[AreaReach, ...]


def reached_by(question: Question, posts: Posts, areas: Mapping[str, Cells]) -> Reached:
    """areas: all that are told, by name; the floor holds in those of the question."""
    covered = question.reach.covered(posts)
    expected = question.weight.reshape(-1, question.reach.per_cell) * question.expected.sum()
    within = expected * (covered > 0).reshape(expected.shape)

    def of_area(name: str) -> AreaReach:
        whole = float(expected[areas[name]].sum())
        share = float(within[areas[name]].sum()) / whole if whole > 0 else None
        has_floor = question.floor > 0 and name in question.areas
        is_kept = (share or 0.0) >= question.floor - EQUAL if has_floor else None
        rounded = None if share is None else round(share, 4)
        return AreaReach(area=name, expected=round(whole, 4), within=rounded, floor_kept=is_kept)

    return Reached(
        units=len(posts),
        expected=round(float(question.expected.sum()), 4),
        within=round(question.within(posts), 4),
        by_a_free_unit=round(question.served(posts), 4),
        by_two=round(float((question.weight * (covered > 1)).sum()), 4),
        floor=question.floor,
        areas=tuple(map(of_area, areas)),
    )

"""What is asked of free units, and the answer, as the OpenAPI document shows them."""

from typing import Annotated

from pydantic import Field

from models.readiness.question import BUSY, FLOOR, LEAST_GAIN, MOST_UNITS
from service.answers.contract import Amount, CellId, Chance, Closed, Count, Facts


class Spot(Closed):
    """A place: of no person, no crew, no vehicle."""

    lat: Annotated[float, Field(ge=-90, le=90)]
    lon: Annotated[float, Field(ge=-180, le=180)]


class PostsAsked(Closed):
    units: Annotated[list[Spot], Field(max_length=MOST_UNITS)] = Field(description="Where the free units stand now")
    places: Annotated[list[Spot], Field(min_length=1, max_length=1_000)] | None = Field(
        None, description="Where units may go; without them any cell with calls on record"
    )
    returning: Annotated[list[Spot], Field(max_length=MOST_UNITS)] = Field(
        default=[],
        description="Posts of units that are free again within the hour: counted, never moved",
    )
    freed: Spot | None = Field(None, description="Where a unit is that becomes free: it is given its best place")
    reach_minutes: Annotated[float, Field(gt=0, le=240)] = 8
    speed_kmh: Annotated[float, Field(gt=0, le=300)] = Field(40, description="Over 1.3 times the straight line")
    busy: Annotated[float, Field(ge=0, lt=1)] = Field(BUSY, description="Share of the time in which a unit is away")
    floor: Annotated[float, Field(ge=0, lt=1)] = Field(
        FLOOR, description="Share of each area's calls within reach, below which no move takes it; 0: none"
    )
    most_moves: Annotated[int, Field(ge=0, le=MOST_UNITS)] = Field(0, description="0: only say what is within reach")
    least_gain: Annotated[float, Field(gt=0, le=1)] = Field(
        LEAST_GAIN, description="Of all expected calls: a move that gains less is not worth it"
    )
    most_minutes: Annotated[float, Field(gt=0, le=240)] = Field(15, description="Of driving, for a move")


class AreaWithin(Closed):
    area: str
    expected: Amount
    within: Chance | None = Field(description="Share of the area's expected calls within reach; null where none are")
    floor_kept: bool | None = Field(description="null: the floor does not hold here")


class BareCell(Closed):
    cell: CellId
    lat: float
    lon: float
    expected: Amount


class Gain(Spot):
    gain: float = Field(description="Share of all expected calls more that a free unit reaches")
    minutes: Amount = Field(description="Of driving to that place")


class UnitMove(Gain):
    unit: Count = Field(description="Which of the units, from 0")


class Readiness(Facts):
    horizon: str
    categories: list[str] = Field(description="Those of the region that standing units answer")
    units: Count
    expected: Amount
    within: Chance = Field(description="Share of the expected calls within reach of a unit")
    usual_within: Chance = Field(description="The same share of what is usual for this hour of the week")
    by_a_free_unit: Chance = Field(description="Share reached if each unit is away for `busy` of the time")
    by_two: Chance = Field(description="Share within reach of two units or more")
    floor: Amount = Field(description="0: none, as the request asked")
    areas: list[AreaWithin]
    bare: list[BareCell] = Field(description="Cells of which less than half is within reach, most expected first")
    moves: list[UnitMove] = Field(description="Those that are worth it, best first; mostly none")
    freed: Gain | None
    warnings: list[str]
    assumes: str

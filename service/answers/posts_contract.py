"""What is asked of free units, and the answer, as the OpenAPI document shows them."""

from typing import Annotated

from pydantic import Field

from models.readiness.question import BUSY, FLOOR, MOST_UNITS
from service.answers.contract import Amount, CellId, Chance, Closed, Count, Facts


class Spot(Closed):
    """A place: of no person, no crew, no vehicle."""

    lat: Annotated[float, Field(ge=-90, le=90)]
    lon: Annotated[float, Field(ge=-180, le=180)]


class PostsAsked(Closed):
    units: Annotated[list[Spot], Field(max_length=MOST_UNITS)] = Field(description="Where the free units stand now")
    reach_minutes: Annotated[float, Field(gt=0, le=240)] = 8
    speed_kmh: Annotated[float, Field(gt=0, le=300)] = Field(40, description="Over 1.3 times the straight line")
    busy: Annotated[float, Field(ge=0, lt=1)] = Field(BUSY, description="Share of the time in which a unit is away")
    floor: Annotated[float, Field(ge=0, lt=1)] = Field(
        FLOOR, description="Share of each area's calls to have within reach; 0: none"
    )


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
    warnings: list[str]
    assumes: str

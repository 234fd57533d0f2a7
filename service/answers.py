"""What is asked about scores and what is answered, as the OpenAPI document shows it. Others stand beside their routes.

An answer is a dictionary of one of these types: its route builds it so, its fields in the order in which they are sent.
"""

from typing import (
    Annotated,
    Any,
    Literal,
    NotRequired,  # pydantic needs it of here before Python 3.12
)

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, with_config
from typing_extensions import TypedDict

from schemas.grid import CELL_ID
from schemas.limits import MAX_SQUARES
from schemas.spec import ALL_CATEGORIES, SLUG

Instant = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", description="UTC")]
CellId = Annotated[str, Field(pattern=CELL_ID, examples=["r026c023"])]
Support = Literal["no_history", "sparse", "ok"]
Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0)]
Chance = Annotated[float, Field(ge=0, le=1)]
Category = Annotated[str, Field(description="A category of the region, or `all`")]
AskedCategory = Annotated[Category, Field(pattern=SLUG)]
AskedArea = Annotated[str, Field(min_length=1, max_length=200)]


class ClosedRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")


@with_config(ConfigDict(extra="forbid"))
class ClosedAnswer(TypedDict): ...


class Change(ClosedAnswer):
    since: Instant
    says: Annotated[
        str, Field(examples=["05 to 08 h x 1.9, 12 cells x 2.1"], description="In the region's local hours")
    ]


class SilentFeed(ClosedAnswer):
    category: Annotated[str, Field(description="`all`: the feed of all categories together")]
    since: Annotated[Instant, Field(description="About its last incident before")]
    until: Annotated[
        Instant | None, Field(description="When it was back, some hours ago at most; null: it is silent now")
    ]
    observed: Annotated[Count, Field(description="Incidents in that time: none, or next to none")]
    usual: Amount
    once_in_days: Annotated[Amount, Field(description="Chance alone shows so few once in so many days")]


class SurgeOfCategory(ClosedAnswer):
    category: str
    factors: Annotated[
        dict[str, Amount], Field(description="By horizon, on what is expected in every cell of the region")
    ]
    observed: Annotated[Count, Field(description="Incidents in the last hour, in the whole region")]
    usual: Amount
    says: Annotated[str, Field(examples=["fire x3.4: 36 instead of 4.2 in the last hour"])]


class Facts(ClosedAnswer):
    region: str
    as_of: Annotated[Instant, Field(description="The time that the scores are for, in UTC")]
    stale: Annotated[bool, Field(description="Too old, or ahead of this clock: not to be taken as current")]
    withheld: Annotated[
        str | None, Field(description="Why no scores are shown: what asks for them is answered with 503")
    ]
    clock: Annotated[Literal["wall", "event"], Field(description="event: a replay; its scores are not for now")]
    model: Annotated[
        str, Field(description="Version of the artifact, or `baseline` and why the network gave no scores")
    ]
    expired: Annotated[str | None, Field(description="That the version is old: train it again, or evaluate it anew")]
    baseline_only: bool
    digest: Annotated[str, Field(description="Of the frame, as in the job's log of batches")]
    change: Annotated[
        Change | None, Field(description="A change of the region that the forecast follows for three days or more")
    ]
    silent: Annotated[
        list[SilentFeed],
        Field(
            description="Feeds that bring so little that nobody knows what happens; then the scores are what is usual"
        ),
    ]
    surges: Annotated[
        list[SurgeOfCategory],
        Field(description="Categories whose forecast is raised, as the last hour brought far more than was expected"),
    ]


class CellView(ClosedRequest):
    """How old the answer may be."""

    require: Literal["current"] | None = Field(
        None, description="`current`: 503 in place of scores that are stale, or while a feed of the category is silent"
    )


class HorizonView(CellView):
    horizon: Annotated[str, Field(pattern=r"^\d{1,3}h$")] | None = Field(
        None, description="As `1h`; without it the shortest"
    )


class PastView(ClosedRequest):
    """Of now, or of the last day."""

    at: AwareDatetime | None = Field(
        None,
        description="What was shown at the beginning of that hour, for 24 hours; such scores are `stale`: not for now",
    )


class PastCellView(CellView, PastView):
    """Which time, and how old the answer may be."""


class View(HorizonView, PastCellView):
    """Which scores."""

    category: AskedCategory = ALL_CATEGORIES


class ScoresView(View):
    area: AskedArea | None = Field(
        None, description="Only the cells of this area of the file that the service was given"
    )
    format: Literal["json", "geojson", "csv"] | None = Field(None, description="In place of the header Accept")
    fine: bool = Field(
        False,
        description="Also by the squares of each cell; as GeoJSON and CSV the squares alone. "
        f"At most {MAX_SQUARES:,} squares an answer: in a large region give an `area`",
    )


class DayView(ClosedRequest):
    """What is asked of the last day."""

    category: AskedCategory = ALL_CATEGORIES
    area: AskedArea | None = Field(None, description="Only the cells of this area")


class UnusualView(PastCellView):
    """What is asked of the last hours."""

    category: AskedCategory = ALL_CATEGORIES
    area: AskedArea | None = Field(None, description="Only places that have a cell of this area")


class Amounts(ClosedAnswer):
    expected: Annotated[Amount, Field(description="Incidents to expect within the horizon")]
    usual: Annotated[Amount, Field(description="What is usual for this hour of the week")]
    risk: Annotated[Chance, Field(description="Probability of at least one")]
    low: Annotated[Amount, Field(description="5 % quantile of the count")]
    high: Annotated[Amount, Field(description="95 % quantile of the count")]
    observed_1h: Annotated[Count, Field(description="Incidents counted in the last hour")]
    support: Support


class Row(Amounts):
    cell: CellId
    lat: float
    lon: float
    squares: NotRequired[
        Annotated[
            list[Amount],
            Field(description="With `fine`: expected in each square of the cell, from its south-west row by row"),
        ]
    ]


class ScoresHead(Facts):
    category: str
    horizon: str
    area: str | None


class RegionScores(ScoresHead):
    cells: list[Row]


class Factor(ClosedAnswer):
    group: str
    says: str
    factor: Amount


class CellScore(Amounts):
    category: str
    horizon: str
    rank: Annotated[int | None, Field(description="Among the riskiest cells of the category and horizon, 1 the first")]
    factors: Annotated[
        list[Factor] | None,
        Field(
            description="usual times all of them is expected. Only the ten riskiest cells of each category have them"
        ),
    ]


class Cell(Facts):
    cell: CellId
    lat: float
    lon: float
    geohash: str
    scores: list[CellScore]


class GridPlace(ClosedAnswer):
    south_deg: float
    west_deg: float
    cell_m: float
    rows: int
    cols: int
    cell_lat_deg: float
    cell_lon_deg: float


class Region(Facts):
    timezone: str
    tick_s: int
    stale_after_s: int
    grid: GridPlace
    categories: Annotated[list[str], Field(description="`all` and the region's own")]
    horizons: list[str]
    areas: list[str]
    fine: Annotated[int, Field(description="Squares a side of a cell that `fine` gives; 1: none")]
    answered_by: Annotated[
        list[str], Field(description="Categories that standing units answer; without any there are no posts")
    ]


class Regions(ClosedAnswer):
    regions: list[Region]
    withheld: Annotated[str | None, Field(description="As of each region; also while there is none")]


class AreaRow(ClosedAnswer):
    area: str
    expected: Amount
    usual: Amount
    observed_1h: Count
    risk: Annotated[Chance, Field(description="Probability of at least one in the area")]
    support: Annotated[dict[Support, Count], Field(description="How many of the cells have which support")]


class AreaScores(Facts):
    category: str
    horizon: str
    areas: list[AreaRow]
    assumes: str


class Hour(ClosedAnswer):
    at: Annotated[Instant, Field(description="The hour's beginning, for `at` of other routes")]
    as_of: Annotated[Instant | None, Field(description="The time that the hour's frame is for; null without one")]
    why: Annotated[str | None, Field(description="Why there is no frame of this hour")]
    observed: Annotated[Count | None, Field(description="Incidents in the hour that ends with as_of, as counted then")]
    usual: Annotated[Amount | None, Field(description="What was usual for it, by the frame of the hour before")]
    low: Annotated[Count | None, Field(description="5 % quantile of what chance alone makes of the usual number")]
    high: Annotated[Count | None, Field(description="95 % quantile of it")]


class DayAnswer(Facts):
    category: str
    area: str | None
    hours: Annotated[list[Hour], Field(description="The last 24 full hours and the one before, the oldest first")]
    assumes: str


class UnusualPlace(ClosedAnswer):
    category: str
    place: Annotated[
        str,
        Field(
            examples=["Norristown · r012c013 to r014c015"],
            description="In words: its area, else the nearest named place of the map within 5 km; and its cells",
        ),
    ]
    area: Annotated[str | None, Field(description="The area that has most of the cells")]
    areas: Annotated[list[str], Field(description="Every area that has some of the cells `above`, most first")]
    cells: list[CellId]
    above: Annotated[
        list[CellId],
        Field(description="Those of the cells with more incidents than usual; all if that is unknown"),
    ]
    bbox: Annotated[list[float], Field(description="west, south, east, north in degrees", min_length=4, max_length=4)]
    hours: Annotated[int, Field(description="The last ones, that end with as_of")]
    observed: Annotated[Count, Field(description="Incidents in them")]
    of_categories: Annotated[dict[str, Count], Field(description="Of each category, where the place is of `all`")]
    usual: Amount
    more: Annotated[Amount, Field(description="observed less usual")]
    once_in_days: Annotated[
        Amount, Field(description="Chance alone shows as much once in so many days, somewhere in the region")
    ]


class UnusualAnswer(Facts):
    category: str
    area: str | None
    least_days: Annotated[
        float, Field(description="What chance shows more often than once in so many days is as usual")
    ]
    places: list[UnusualPlace]


SHAPES: dict[str, Any] = {  # lines without scores, as GeoJSON
    "type": "object",
    "required": ["type", "features"],
    "properties": {"type": {"const": "FeatureCollection"}, "features": {"type": "array"}},
}
_PROPERTIES = {"type": "object", "required": ["cell", "expected", "risk", "lift", "support", "as_of", "stale"]}
SCORED_SHAPES: dict[str, Any] = {  # in short: GeoJSON has a schema of its own
    "type": "object",
    "required": ["type", "features", "as_of", "stale", "model"],
    "properties": {
        "type": {"const": "FeatureCollection"},
        "features": {"type": "array", "items": {"type": "object", "properties": {"properties": _PROPERTIES}}},
    },
}

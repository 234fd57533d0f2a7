"""The answers and questions of the service, as its OpenAPI document shows them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.grid import CELL_ID
from schemas.spec import SLUG
from service.decisions import LONGEST_REASON, MOST_HOURS, What

Instant = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", description="UTC")]
CellId = Annotated[str, Field(pattern=CELL_ID, examples=["r026c023"])]
Support = Literal["no_history", "sparse", "ok"]
Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0)]
Chance = Annotated[float, Field(ge=0, le=1)]


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Change(Closed):
    since: Instant
    says: str = Field(examples=["05 to 08 h x 1.9, 12 cells x 2.1"], description="In the region's local hours")


class SilentFeed(Closed):
    category: str = Field(description="`all`: the feed of all categories together")
    since: Instant = Field(description="About its last incident before")
    until: Instant | None = Field(description="When it was back, some hours ago at most; null: it is silent now")
    observed: Count = Field(description="Incidents in that time: none, or next to none")
    usual: Amount
    once_in_days: Amount = Field(description="Chance alone shows so few once in so many days")


class SurgeOfCategory(Closed):
    category: str
    factors: dict[str, Amount] = Field(description="By horizon, on what is expected in every cell of the region")
    observed: Count = Field(description="Incidents in the last hour, in the whole region")
    usual: Amount
    says: str = Field(examples=["fire x3.4: 36 in place of 4.2 in the last hour"])


class Facts(Closed):
    region: str
    as_of: Instant = Field(description="The time that the scores are for, in UTC")
    stale: bool = Field(description="Too old, or ahead of this clock: not to be taken as current")
    withheld: str | None = Field(description="Why no scores are shown: what asks for them is answered with 503")
    clock: Literal["wall", "event"] = Field(description="event: a replay; its scores are not for now")
    model: str = Field(description="Version of the artifact, or `baseline` and why the network gave no scores")
    expired: str | None = Field(description="That the version is old: train it again, or evaluate it anew")
    baseline_only: bool
    digest: str = Field(description="Of the frame, as in the job's log of batches")
    change: Change | None = Field(description="A change of the region that the forecast follows for three days or more")
    silent: list[SilentFeed] = Field(
        description="Feeds that bring so little that nobody knows what happens; then the scores are what is usual"
    )
    surges: list[SurgeOfCategory] = Field(
        description="Categories whose forecast is raised, as the last hour brought far more than was expected"
    )


class CellView(Closed):
    """How old the answer may be."""

    require: Literal["current"] | None = Field(
        None, description="`current`: 503 in place of scores that are stale, or while a feed of the category is silent"
    )


class HorizonView(CellView):
    horizon: Annotated[str, Field(pattern=r"^\d{1,3}h$")] | None = Field(
        None, description="As `1h`; without it the shortest"
    )


class View(HorizonView):
    """Which scores."""

    category: Annotated[str, Field(pattern=SLUG)] = Field("all", description="A category of the region, or `all`")


class ScoresView(View):
    area: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        None, description="Only the cells of this area of the file that the service was given"
    )
    format: Literal["json", "geojson", "csv"] | None = Field(None, description="In place of the header Accept")


class Amounts(Closed):
    expected: Amount = Field(description="Incidents to expect within the horizon")
    usual: Amount = Field(description="What is usual for this hour of the week")
    risk: Chance = Field(description="Probability of at least one")
    low: Amount = Field(description="5 % quantile of the count")
    high: Amount = Field(description="95 % quantile of the count")
    observed_1h: Count = Field(description="Incidents counted in the last hour")
    support: Support


class Row(Amounts):
    cell: CellId
    lat: float
    lon: float


class RegionScores(Facts):
    category: str
    horizon: str
    area: str | None
    cells: list[Row]


class Factor(Closed):
    group: str
    says: str
    factor: Amount


class CellScore(Amounts):
    category: str
    horizon: str
    rank: int | None = Field(description="Among the riskiest cells of the category and horizon, 1 the first")
    factors: list[Factor] | None = Field(
        description="usual times all of them is expected. Only the ten riskiest cells of each category have them"
    )


class Cell(Facts):
    cell: CellId
    lat: float
    lon: float
    geohash: str
    scores: list[CellScore]


class GridPlace(Closed):
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
    categories: list[str] = Field(description="`all` and the region's own")
    horizons: list[str]
    areas: list[str]
    answered_by: list[str] = Field(description="Categories that standing units answer; without any there are no posts")


class Regions(Closed):
    regions: list[Region]
    withheld: str | None = Field(description="As of each region; also while there is none")


class AreaRow(Closed):
    area: str
    expected: Amount
    usual: Amount
    observed_1h: Count
    risk: Chance = Field(description="Probability of at least one in the area")
    support: dict[Support, Count] = Field(description="How many of the cells have which support")


class AreaScores(Facts):
    category: str
    horizon: str
    areas: list[AreaRow]
    assumes: str


class UnusualView(CellView):
    """What is asked of the last hours."""

    category: Annotated[str, Field(pattern=SLUG)] = Field("all", description="A category of the region, or `all`")
    area: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        None, description="Only places that have a cell of this area"
    )


class UnusualPlace(Closed):
    category: str
    area: str | None = Field(description="The area that has most of the cells")
    areas: list[str] = Field(description="Every area that has some of the cells `above`, most first")
    cells: list[CellId]
    above: list[CellId] = Field(description="Those of the cells with more incidents than usual; all if that is unknown")
    bbox: list[float] = Field(description="west, south, east, north in degrees", min_length=4, max_length=4)
    hours: int = Field(description="The last ones, that end with as_of")
    observed: Count = Field(description="Incidents in them")
    of_categories: dict[str, Count] = Field(description="Of each category, where the place is of `all`")
    usual: Amount
    more: Amount = Field(description="observed less usual")
    once_in_days: Amount = Field(description="Chance alone shows as much once in so many days, somewhere in the region")


class UnusualAnswer(Facts):
    category: str
    area: str | None
    least_days: float = Field(description="What chance shows more often than once in so many days is as usual")
    places: list[UnusualPlace]


# What nobody sees on the map, or what turns the direction of the words after it.
_UNSEEN = r"\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"


class _Decision(Closed):
    what: What
    category: str = Field(description="A category of the region, or `all`")
    first: CellId = Field(description="The south-western cell of a rectangle, as of an unusual place")
    last: CellId = Field(description="The north-eastern cell")
    reason: Annotated[str, Field(max_length=LONGEST_REASON, pattern=rf"^[^{_UNSEEN}]*[^\s{_UNSEEN}][^{_UNSEEN}]*$")] = (
        Field(description="Of the place and what was done, as `unit sent`; never of a person")
    )


class DecisionAsked(_Decision):
    hours: Annotated[float, Field(gt=0, le=MOST_HOURS)] = Field(4, description="After which it ends by itself")


class DecisionTaken(_Decision):
    region: str
    until: Instant
    by: str = Field(description="The name of the token")
    observed: Count | None = Field(description="Incidents there when it was decided; null of a version without it")
    at: Instant


class DecisionsOnRecord(Closed):
    region: str
    decisions: list[DecisionTaken]


class DecisionsInForce(DecisionsOnRecord):
    may_decide: bool = Field(description="Whether this token may")


class ServiceHealth(Closed):
    status: Literal["ok"]
    regions: Count
    stale: Count
    silent: Count = Field(description="Regions of which a feed is silent")
    withheld: bool


def geojson_shapes_schema() -> dict[str, Any]:
    """The schema of lines without scores."""
    return {
        "type": "object",
        "required": ["type", "features"],
        "properties": {"type": {"const": "FeatureCollection"}, "features": {"type": "array"}},
    }


def geojson_schema() -> dict[str, Any]:
    """The schema of scores as GeoJSON, in short: GeoJSON has a schema of its own."""
    schema = geojson_shapes_schema()
    properties = {"type": "object", "required": ["cell", "expected", "risk", "lift", "support", "as_of", "stale"]}
    schema["properties"]["features"]["items"] = {"type": "object", "properties": {"properties": properties}}
    return {**schema, "required": ["type", "features", "as_of", "stale", "model"]}

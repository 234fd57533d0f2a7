"""The answers and questions of the service, as its OpenAPI document shows them."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from models.readiness.question import BUSY, FLOOR, LEAST_GAIN, MOST_UNITS
from schemas.grid import CELL_ID
from schemas.spec import SLUG

MOST_VERTICES = 5_000
MOST_POLYGONS = 200

Instant = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", description="UTC")]
CellId = Annotated[str, Field(pattern=CELL_ID, examples=["r026c023"])]
Support = Literal["no_history", "sparse", "ok"]
Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0)]
Chance = Annotated[float, Field(ge=0, le=1)]


class _Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Change(_Closed):
    since: Instant
    says: str = Field(examples=["05 to 08 h x 1.9, 12 cells x 2.1"], description="In the region's local hours")


class _Facts(_Closed):
    region: str
    as_of: Instant = Field(description="The time that the scores are for, in UTC")
    stale: bool = Field(description="Too old, or ahead of this clock: not to be taken as current")
    clock: Literal["wall", "event"] = Field(description="event: a replay; its scores are not for now")
    model: str = Field(description="Version of the artifact, or `baseline` and why the network gave no scores")
    baseline_only: bool
    digest: str = Field(description="Of the frame, as in the job's log of batches")
    change: Change | None = Field(description="A change of the region that the forecast follows for three days or more")


class CellView(_Closed):
    """How old the answer may be."""

    require: Literal["current"] | None = Field(None, description="`current`: 503 in place of scores that are stale")


class View(CellView):
    """Which scores."""

    category: Annotated[str, Field(pattern=SLUG)] = Field("all", description="A category of the region, or `all`")
    horizon: Annotated[str, Field(pattern=r"^\d{1,3}h$")] | None = Field(
        None, description="As `1h`; without it the shortest"
    )


class ScoresView(View):
    area: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        None, description="Only the cells of this area of the file that the service was given"
    )
    format: Literal["json", "geojson", "csv"] | None = Field(None, description="In place of the header Accept")


class Amounts(_Closed):
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


class RegionScores(_Facts):
    category: str
    horizon: str
    area: str | None
    cells: list[Row]


class Factor(_Closed):
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


class Cell(_Facts):
    cell: CellId
    lat: float
    lon: float
    geohash: str
    scores: list[CellScore]


class Place(_Closed):
    south_deg: float
    west_deg: float
    cell_m: float
    rows: int
    cols: int
    cell_lat_deg: float
    cell_lon_deg: float


class Region(_Facts):
    timezone: str
    tick_s: int
    stale_after_s: int
    grid: Place
    categories: list[str] = Field(description="`all` and the region's own")
    horizons: list[str]
    areas: list[str]


class Regions(_Closed):
    regions: list[Region]


Position = Annotated[
    list[FiniteFloat],
    Field(min_length=2, max_length=3, description="longitude, latitude in degrees; a height is ignored"),
]
Ring = Annotated[list[Position], Field(min_length=4, max_length=MOST_VERTICES)]
Rings = Annotated[list[Ring], Field(min_length=1, max_length=MOST_POLYGONS)]


class _Drawn(_Closed):
    bbox: Annotated[list[float], Field(min_length=4, max_length=6)] | None = Field(None, description="Ignored")


class Polygon(_Drawn):
    type: Literal["Polygon"]
    coordinates: Rings


class MultiPolygon(_Drawn):
    type: Literal["MultiPolygon"]
    coordinates: Annotated[list[Rings], Field(min_length=1, max_length=MOST_POLYGONS)]


class Feature(_Drawn):
    type: Literal["Feature"]
    geometry: Annotated[Polygon | MultiPolygon, Field(discriminator="type")]
    id: str | float | None = Field(None, description="Ignored")
    properties: dict[str, Any] | None = Field(None, description="Ignored")


Shape = Annotated[
    Polygon | MultiPolygon | Feature, Field(discriminator="type", description="GeoJSON, degrees of WGS 84")
]


class _Together(_Closed):
    expected: Amount
    usual: Amount
    observed_1h: Count
    risk: Chance = Field(description="Probability of at least one in the area")
    support: dict[Support, Count] = Field(description="How many of the cells have which support")


class AreaScore(_Facts, _Together):
    category: str
    horizon: str
    cells: list[CellId] = Field(description="Those whose centre lies in the polygon")
    assumes: str


class AreaRow(_Together):
    area: str


class AreaScores(_Facts):
    category: str
    horizon: str
    areas: list[AreaRow]
    assumes: str


class Spot(_Closed):
    """A place: of no person, no crew, no vehicle."""

    lat: Annotated[float, Field(ge=-90, le=90)]
    lon: Annotated[float, Field(ge=-180, le=180)]


class PostsView(CellView):
    horizon: Annotated[str, Field(pattern=r"^\d{1,3}h$")] | None = Field(
        None, description="As `1h`; without it the shortest"
    )


class PostsAsked(_Closed):
    units: Annotated[list[Spot], Field(max_length=MOST_UNITS)] = Field(description="Where the free units stand now")
    places: Annotated[list[Spot], Field(min_length=1, max_length=1_000)] | None = Field(
        None, description="Where units may go; without them any cell with calls on record"
    )
    returning: Annotated[list[Spot], Field(max_length=MOST_UNITS)] = Field(
        default=[],
        description="Posts of units that are free again within half an hour: counted, never moved",
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


class AreaReach(_Closed):
    area: str
    expected: Amount
    within: Chance | None = Field(description="Share of the area's expected calls within reach; null where none are")
    floor_kept: bool | None = Field(description="null: the floor does not hold here")


class BareCell(_Closed):
    cell: CellId
    lat: float
    lon: float
    expected: Amount


class Gain(Spot):
    gain: float = Field(description="Share of all expected calls more that a free unit reaches")
    minutes: Amount = Field(description="Of driving to that place")


class Move(Gain):
    unit: Count = Field(description="Which of the units, from 0")


class Readiness(_Facts):
    horizon: str
    categories: list[str] = Field(description="Those of the region that standing units answer")
    units: Count
    expected: Amount
    within: Chance = Field(description="Share of the expected calls within reach of a unit")
    usual_within: Chance = Field(description="The same share of what is usual for this hour of the week")
    by_a_free_unit: Chance = Field(description="Share reached if each unit is away for `busy` of the time")
    by_two: Chance = Field(description="Share within reach of two units or more")
    floor: Amount = Field(description="0: none, as the request asked")
    areas: list[AreaReach]
    bare: list[BareCell] = Field(description="Cells of which less than half is within reach, most expected first")
    moves: list[Move] = Field(description="Those that are worth it, best first; mostly none")
    freed: Gain | None
    warnings: list[str]
    assumes: str


class UnusualView(CellView):
    """What is asked of the last hours."""

    category: Annotated[str, Field(pattern=SLUG)] = Field("all", description="A category of the region, or `all`")
    area: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        None, description="Only places that have a cell of this area"
    )


class UnusualPlace(_Closed):
    category: str
    area: str | None = Field(description="The area that has most of the cells")
    cells: list[CellId]
    bbox: list[float] = Field(description="west, south, east, north in degrees", min_length=4, max_length=4)
    hours: int = Field(description="The last ones, that end with as_of")
    observed: Count = Field(description="Incidents in them")
    usual: Amount
    more: Amount = Field(description="observed less usual")
    once_in_days: Amount = Field(description="Chance alone shows as much once in so many days, somewhere in the region")


class UnusualAnswer(_Facts):
    category: str
    area: str | None
    least_days: float = Field(description="What chance shows more often than once in so many days is as usual")
    places: list[UnusualPlace]


class ServiceHealth(_Closed):
    status: Literal["ok"]
    regions: Count
    stale: Count


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

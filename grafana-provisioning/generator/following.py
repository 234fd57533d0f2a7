"""Parts of the page Model: what the last weeks showed, and forecasts follow."""

# ruff: noqa: S608 - these are queries for Grafana, made from constants

from generator.build import TABLE_OPTIONS, Panel, Size, asking_panel, lines, stat, text
from generator.colours import LIFT_SHADES
from generator.ground import coloured, land
from generator.looks import AMBER, BLUE, GREY, RUST, STALE, Json, by_level, column, steps
from generator.store import FRESH, choice, long
from models.following.change import BEYOND

FOLLOWING = long("following")
HERE = "\"region\" = '$region'"
SHOWN = f"{HERE} AND $timeFilter"
OF_ONE = f"{HERE} AND \"category\" = '$followed'"
NOTHING = "nothing learned in the shown time"
NO_CHANGE = "no change"
BELOW, ABOVE = 1 / BEYOND, BEYOND
# Blue below and orange above, as a lift is on the map, and dark enough for white figures.
LEVELS = ((None, "#004B76"), (1 / 1.5, BLUE), (1 / 1.1, GREY), (1.1, AMBER), (1.5, RUST))
FACTORS = steps(*LEVELS)
WORDS = """Where a city changes, a network that was trained before stays wrong for months. So its forecast is multiplied
by three factors, learned hour by hour from counts that are final: the **level**, the **24 local hours**, the **cells**.
1 changes nothing, and mostly they lie near 1.

- **As usual** is how likely it is that the network alone is as good; the factors are drawn towards 1 by it.
- **Gained**: how much likelier the counts were with the factors than without, in nats an incident. Below 0 they cost.
- A move of the *recording*, another geocoder for instance, is followed like a change of the city. Ask when it began.

`RISK_FOLLOW=off` shows the network alone."""


def category() -> Json:
    values = f'SHOW TAG VALUES FROM "following" WITH KEY = "category" WHERE {HERE}'
    return choice("followed", "Followed category", values, "Of the hours and cells that the forecast follows")


def following() -> list[Panel]:
    return [
        change((12, 4)),
        _gained(),
        _as_usual(),
        _level(),
        text("What is followed", WORDS, (12, 9)),
        _hours(),
        _cells(),
    ]


def change(size: Size) -> Panel:
    return stat(
        "Follows a change",
        f"Local hours, and cells, whose factor has been beyond {ABOVE:g} or below {BELOW:g} for three days.",
        size,
        f'SELECT last("as_of") AS "as_of", "change" FROM "pipeline" WHERE {HERE} AND "model" != \'\' AND {FRESH}',
        "string",
        text="change",
        without=NO_CHANGE,
        noValue=STALE,
        colour=GREY,
        background=False,
        mappings=[{"type": "value", "options": {"": {"text": NO_CHANGE, "color": GREY, "index": 1}}}],
    )


def _gained() -> Panel:
    return stat(
        "Gained by following",
        "Thousandths of a nat an incident, over the shown time, by forecasts of an hour of all categories.",
        (6, 4),
        f'SELECT 1000 * sum("gained") / sum("incidents") AS "gained" FROM {FOLLOWING} WHERE {SHOWN}',
        "suffix: thousandths of a nat",
        decimals=1,
        without=NOTHING,
        colour=GREY,
        background=False,
    )


def _as_usual() -> Panel:
    return stat(
        "As usual",
        "The chance that the network alone is as good, of the category where it is lowest.",
        (6, 4),
        f'SELECT min("chance") AS "chance" FROM (SELECT last("as_usual") AS "chance" FROM {FOLLOWING} WHERE {HERE} '
        'AND time > now() - 3d GROUP BY "category")',
        "percentunit",
        decimals=0,
        without=NOTHING,
        colour=GREY,
        background=False,
    )


def _level() -> Panel:
    return lines(
        "Level that is followed",
        "By category, as shown for the next hour. 1 changes nothing.",
        (12, 9),
        f'SELECT last("level") AS "level" FROM {FOLLOWING} WHERE {SHOWN} GROUP BY time(1h), "category" fill(null)',
        "none",
        minimum=None,
        alias="$tag_category",
        thresholds=steps((None, GREY), (1, GREY)),
        drawing={"thresholdsStyle": {"mode": "dashed"}, "axisSoftMin": BELOW, "axisSoftMax": ABOVE},
        without=NOTHING,
    )


def _hours() -> Panel:
    rows = {"rowField": "hour", "columnField": "category", "valueField": "factor", "emptyValue": "null"}
    filled = {"cellOptions": {"type": "color-background", "mode": "basic"}, "align": "center", "minWidth": 50}
    return asking_panel(
        "table",
        "Hours of the day that are followed",
        "The newest factor of each local hour and category, level included. 1 changes nothing.",
        (8, 26),
        'SELECT last("factor") AS "factor" FROM "following_hour" '
        f'WHERE {HERE} AND time > now() - 3d GROUP BY "category", "hour"',
        options=TABLE_OPTIONS,
        defaults={"unit": "none", "decimals": 2, "noValue": NOTHING, "custom": filled, **by_level(*LEVELS)},
        overrides=[column("hour\\category", displayName="Hour", unit="string", custom__cellOptions={"type": "auto"})],
        transformations=[
            {"id": "sortBy", "options": {"fields": {}, "sort": [{"field": "hour"}]}},
            {"id": "groupingToMatrix", "options": rows},
        ],
    )


def _cells() -> Panel:
    """Without any row the layer of polygons keeps its last colours, so query B has one with an id that no cell has."""
    newest = f'SELECT last("factor") AS "factor" FROM "following_cell" WHERE {OF_ONE} AND time > now() - 25h'
    no_cell = f'SELECT last("model") AS "geohash", "model" AS "cell", "level" AS "factor" FROM "following" WHERE {HERE}'
    columns = [
        column("Time", custom__hideFrom={"tooltip": True, "viz": False, "legend": True}),
        column("factor", displayName="Factor", unit="none", decimals=2, thresholds=LIFT_SHADES),
        column("cell", displayName="Cell", unit="string"),
        column("geohash", unit="string", custom__hideFrom={"tooltip": True, "viz": False, "legend": True}),
    ]
    return asking_panel(
        "geomap",
        "Cells that are followed",
        "Where more (orange) or less (blue) came than the network alone would expect, level and hours aside, in the "
        "steps of a lift on the live map. Renewed each midnight, UTC; grey: within 1.2.",
        (16, 26),
        [f'{newest} GROUP BY "cell", "geohash"', no_cell],
        options={
            "view": {"id": "fit", "lat": 0, "lon": 0, "zoom": 10, "allLayers": False, "layer": "Centres of cells"},
            "controls": {"showZoom": True, "mouseWheelZoom": True, "showAttribution": True, "showScale": True},
            "basemap": land(),
            "layers": coloured("factor"),
            "tooltip": {"mode": "details"},
        },
        defaults={"unit": "short", "thresholds": LIFT_SHADES, "color": {"mode": "thresholds"}, "noValue": NOTHING},
        overrides=columns,
        maxDataPoints=10_000,
    )

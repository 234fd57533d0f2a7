"""Live risk map: what a dispatcher looks at."""

# ruff: noqa: S608 - these are queries for Grafana, made from constants

from generator.area import IN_AREA, area_variable, sums, ten_highest
from generator.ground import cells, land, lines, tiles
from generator.panels import (
    BLUE,
    FRESH,
    GREY,
    LIFT,
    NOT_NOW_MAPPING,
    ORANGE,
    PLACE,
    STALE_MAPPING,
    STALE_S,
    SUPPORT_MAPPING,
    WITHOUT_TIME,
    Json,
    Panel,
    between,
    column,
    dashboard,
    place_variables,
    says,
    stat,
    steps,
    table,
    text,
)

UID = "risk-live"
_FIELDS = '"expected", "usual", "low", "high", "observed_1h", "support"'
# Of the rows, not of the measurement: the same answer in two thirds of the time.
NEWEST = (
    f'SELECT last("risk") AS "r", {_FIELDS} FROM (SELECT "risk", {_FIELDS} FROM "risk" '
    f'WHERE {PLACE} AND {IN_AREA} AND {FRESH}) GROUP BY "cell", "geohash"'
)
MAP = (
    f'SELECT ${{colour:raw}} AS "shade", "r" AS "risk", {LIFT} AS "lift", "expected", "usual", "low", "high", '
    f'"observed_1h", "support", "cell", "geohash" FROM ({NEWEST}) WHERE "support" != \'no_history\''
)
# A row as long as the job has run within a month, with an id that no cell has: without any row the layer of polygons
# keeps its last colours (read in Grafana's source), so this one is there when the scores are stale and A gives none.
NO_CELL = (
    'SELECT last("model") AS "geohash", "model" AS "cell", "as_of" AS "shade" FROM "pipeline" '
    "WHERE \"region\" = '$region' AND time > now() - 30d"
)
AS_OF = 'last("as_of") {alias} FROM "pipeline" WHERE "region" = \'$region\' AND "model" != \'\' AND {since}'
AGE = "SELECT ${__to} / 1000 - " + AS_OF.format(alias='AS "age"', since=FRESH)
CELL_LINK = {
    "title": "This cell over time",
    "url": "/d/risk-cell?var-region=${region}&var-category=${category}&var-horizon=${horizon}"
    "&var-cell=${__data.fields.cell}",
}
# Blue to brown, no green: ColorBrewer's YlOrBr with a blue below it, told apart with any colour vision.
HIGHEST_FIRST: Json = {"id": "sortBy", "options": {"fields": {}, "sort": [{"field": "risk", "desc": True}]}}
SHADES = steps((None, "#9ECAE1"), (1, "#FEE391"), (2, "#FE9929"), (4, "#D95F0E"), (8, "#7F2704"))

KEY = """| colour | chance of at least one | lift over usual |
| --- | --- | --- |
| pale blue | below 5 % | about the usual, or below |
| yellow | 5 % and more | 1.25 times the usual and more |
| orange | 10 % and more | 2.5 times the usual and more |
| dark orange | 20 % and more | 5 times the usual and more |
| brown | 40 % and more | 10 times the usual and more |
| **grey** | **not known**: no history here, the scores are stale, or outside the chosen area | |

`Colour by` at the top switches. A quiet cell is not a safe cell: grey means that nothing is known.
The scores are for readiness, that units stand in the right place. They say nothing about people."""


def _stale_or(unit: str) -> Json:
    colour = {"mode": "fixed", "fixedColor": BLUE}
    return {"unit": unit, "noValue": "STALE", "mappings": [STALE_MAPPING], "color": colour}


def _top_row() -> list[Panel]:
    newest_model = f'SELECT last("model") AS "model" FROM "top" WHERE {PLACE} AND {FRESH}'
    stale = between(STALE_S, None, "STALE", 1)
    baseline = says("/^baseline.*$/", "BASELINE ONLY", ORANGE, 1)
    network = says("/^(?!baseline).*$/", "Network", BLUE, 2)
    return [
        stat(
            "Age of the newest scores",
            "Seconds between the moment the scores are for and the end of the shown time. Without scores of the last "
            "three minutes, by the store's clock, this says STALE, and map, table and numbers go grey or empty: do not "
            "rely on them. No data means the same. NOT NOW: the shown time ends in the past, or this screen's clock is "
            "wrong.",
            (0, 0, 6, 4),
            AGE,
            {
                "unit": "s",
                "decimals": 0,
                "noValue": "STALE",
                "mappings": [STALE_MAPPING, stale, NOT_NOW_MAPPING],
                "thresholds": steps((None, BLUE), (STALE_S, GREY)),
                "color": {"mode": "thresholds"},
            },
            background=True,
        ),
        stat(
            "Scores are for",
            "The region's clock when the newest scores were made, in this browser's time zone. Shown also when "
            "they are stale.",
            (6, 0, 5, 4),
            "SELECT 1000 * " + AS_OF.format(alias='AS "as_of"', since="time > now() - 7d"),
            {"unit": "dateTimeAsLocal", "noValue": "STALE", "color": {"mode": "fixed", "fixedColor": GREY}},
        ),
        stat(
            "Who made the scores",
            "Network: the artifact's own; that of a cold start is not trained yet and adds nothing. BASELINE ONLY: the "
            "network did not answer; the scores are the long-run rate for this hour of the week, and lift is 1 "
            "everywhere.",
            (11, 0, 5, 4),
            newest_model,
            _stale_or("string") | {"mappings": [STALE_MAPPING, baseline, network]},
            column="model",
            background=True,
        ),
        stat(
            "Model version",
            "The artifact that made the newest scores, or `baseline:` and why.",
            (16, 0, 4, 4),
            newest_model,
            _stale_or("string"),
            column="model",
            background=True,
        ),
        sums(NEWEST, (20, 0, 4, 4), _stale_or("none")),
    ]


def _columns() -> list[Json]:
    return [
        column("Time", displayName="Scores are for"),
        column("shade", unit="none", decimals=1, displayName="Colour step", thresholds=SHADES),
        column("risk", unit="percentunit", decimals=1, displayName="Chance of at least one"),
        column("lift", unit="suffix: x usual", decimals=2, displayName="Lift"),
        column("expected", unit="suffix: incidents", decimals=3, displayName="Expected"),
        column("usual", unit="suffix: incidents", decimals=3, displayName="Usual"),
        column("cell", unit="string", displayName="Cell", links=[CELL_LINK]),
        column("geohash", unit="string"),
    ]


def _layers() -> list[Json]:
    rows = {"id": "byRefId", "options": "A"}
    colour = {"field": "shade", "fixed": GREY}
    centres = {
        "type": "markers",
        "name": "Centres of cells",
        "filterData": rows,
        "location": {"mode": "geohash", "geohash": "geohash"},
        "tooltip": True,
        "config": {
            "showLegend": True,
            "style": {
                "color": colour,
                "opacity": 0.9,
                "size": {"fixed": 4, "min": 2, "max": 8},
                "symbol": {"mode": "fixed", "fixed": "img/icons/marker/square.svg"},
            },
        },
    }
    scored = {
        "type": "dynamic-geojson",  # of all rows, so that it takes B's where A has none
        "name": "Cells with a score",
        "opacity": 0.6,
        "tooltip": True,
        "config": {
            "src": "public/cells/_all.geojson",
            "idField": "geohash",
            "rules": [],
            "style": {"color": {"fixed": "transparent"}, "opacity": 0, "lineWidth": 0},
            "dataStyle": {"color": colour, "opacity": 0.6},
        },
    }
    return [tiles(), cells(), lines(), centres, scored]


def _map() -> Panel:
    return Panel(
        kind="geomap",
        title="Where incidents are likely: $category, next $horizon",
        description="Each square is a cell. Colour by the chance of at least one incident or by lift over the usual "
        "(switch at the top). Grey cells have no history, lie outside the chosen area, or the scores are stale. "
        "A click shows the numbers.",
        place=(0, 4, 16, 21),
        queries=[MAP, NO_CELL],
        options={
            "view": {"id": "fit", "lat": 0, "lon": 0, "zoom": 10, "allLayers": False, "layer": "Centres of cells"},
            "controls": {"showZoom": True, "mouseWheelZoom": True, "showAttribution": True, "showScale": True},
            "basemap": land(),
            "layers": _layers(),
            "tooltip": {"mode": "details"},
        },
        defaults={"unit": "short", "thresholds": SHADES, "color": {"mode": "thresholds"}},
        overrides=_columns(),
        more={"maxDataPoints": 10_000},
    )


def live() -> Json:
    panels = [
        *_top_row(),
        _map(),
        table(
            "The ten highest cells",
            "The riskiest chosen cells of the newest minute that have a history, highest first. A click on a cell "
            "opens its own page. Empty when the scores are stale.",
            (16, 4, 8, 12),
            ten_highest(NEWEST, LIFT),
            [
                *[one for one in _columns() if one["matcher"]["options"] not in ("Time", "shade", "geohash")],
                column(
                    "support",
                    unit="string",
                    displayName="History",
                    mappings=[SUPPORT_MAPPING],
                    custom__cellOptions={"type": "color-text"},
                ),
            ],
            more={"transformations": [HIGHEST_FIRST, WITHOUT_TIME]},
        ),
        text("How to read the map", KEY, (16, 16, 8, 9)),
    ]
    colour: Json = {
        "type": "custom",
        "name": "colour",
        "label": "Colour by",
        "description": "What the colours of the map stand for",
        "query": f'Chance of at least one : "r" / 0.05, Lift over usual : {LIFT} / 1.25',
        "current": {"text": "Chance of at least one", "value": '"r" / 0.05'},
        "multi": False,
        "includeAll": False,
    }
    return dashboard(
        UID,
        "Live risk map",
        "Where the next hours' incidents are likely, for staging units. Places, never people.",
        panels,
        [*place_variables(), area_variable(), colour],
        time={"from": "now-1h", "to": "now"},
        refresh="5s",
        timepicker={"hidden": True},  # with the refresh off, an age would stand still
    )

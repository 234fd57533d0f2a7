"""Live risk map: what a dispatcher looks at."""

# ruff: noqa: S608 - these are queries for Grafana, made from constants

import json

from generator.area import IN_AREA, area_variable, sums, ten_highest
from generator.build import Panel, asking_panel, page, stat, table, text
from generator.colours import COLOUR_BY, SHADES, legend
from generator.following import change
from generator.ground import coloured, land, stale, unusual
from generator.looks import AMBER, CLOCK, GREY, NOT_NOW, STALE, Json, between, column, networks
from generator.store import FRESH, LIFT, PLACE, WHOLE, choices_of_place, newest_frame
from schemas.limits import OLDEST_SCORES_S, UNUSUAL_DAYS

UID = "risk-live"
_FIELDS = '"expected", "usual", "low", "high", "observed_1h", "support"'
# Of the rows, not of the measurement: the same answer in two thirds of the time.
NEWEST = (
    f'SELECT last("risk") AS "r", {_FIELDS} FROM (SELECT "risk", {_FIELDS} FROM "risk" '
    f'WHERE {PLACE} AND {IN_AREA} AND {WHOLE}) GROUP BY "cell", "geohash"'
)
MAP = (
    f'SELECT "cell", "r" AS "risk", {LIFT} AS "lift", "expected", "usual", "low", "high", "observed_1h", "support", '
    f'${{colour.by:raw}} AS "shade", "geohash" FROM ({NEWEST}) WHERE "support" != \'no_history\''
)
# A row as long as the job has run within a month, with an id that no cell has: without any row the layer of polygons
# keeps its last colours (read in Grafana's source), so this one is there when the scores are stale and A gives none.
NO_CELL = (
    'SELECT last("model") AS "geohash", "model" AS "cell", "as_of" AS "shade" FROM "pipeline" '
    "WHERE \"region\" = '$region' AND time > now() - 30d"
)
# By this screen's clock: InfluxQL knows no row that is missing.
IS_STALE = (
    'SELECT "scores_of", "middle" FROM (SELECT last("scores_of") AS "scores_of", "middle" FROM "pipeline" '
    f'WHERE "region" = \'$region\' AND time > now() - 30d) WHERE "scores_of" < ${{__to}} / 1000 - {OLDEST_SCORES_S}'
)
OF_UNUSUAL = f'FROM "unusual" WHERE "region" = \'$region\' AND "category" = \'$category\' AND {WHOLE}'
UNUSUAL = (
    'SELECT "says", "observed", "middle" FROM '
    f'(SELECT last("days") AS "days", "says", "observed", "middle" {OF_UNUSUAL}) WHERE "days" > 0'
)
AS_OF = 'last("scores_of") {alias} FROM "pipeline" WHERE "region" = \'$region\' AND "scores_of" > 0 AND {since}'
AGE = "SELECT ${__to} / 1000 - " + AS_OF.format(alias='AS "age"', since=WHOLE)
CELL_LINK = {
    "title": "This cell over time",
    "url": "/d/risk-cell?var-region=${region}&var-category=${category}&var-horizon=${horizon}"
    "&var-cell=${__data.fields.cell}",
}
HIGHEST_FIRST: Json = {"id": "sortBy", "options": {"fields": {}, "sort": [{"field": "shade", "desc": True}]}}

HOW_TO = """**Colours** begin at the number below them, and mean the same in every region, category and hour, and on the
service's map: the more a cell stands out, the higher. `Colour by` switches map and list between the **chance of at
least one incident** within the horizon and the **lift**: expected over what is usual at this hour of the week. `all` is
every category together. The map changes when all scores of a minute are stored. **Every cell grey and STALE across the
map: do not rely on it.** Some grey: nothing was ever reported there, or they lie outside the chosen area; nothing is
known. A quiet cell is not a safe cell.

The scores are for readiness, that units stand in the right place. They say nothing about people."""


def _age() -> Panel:
    return stat(
        "Age of the scores",
        "Seconds between the moment the shown scores are for and the end of the shown time. Without scores of the last "
        "three minutes, by the store's clock, this says STALE, and map, table and numbers go grey or empty: do not "
        "rely on them. No data means the same. NOT NOW: the shown time ends in the past, or this screen's clock is "
        "wrong.",
        (4, 3),
        AGE,
        "suffix: s",
        decimals=0,
        without=STALE,
        mappings=[between(OLDEST_SCORES_S, None, STALE, 1), NOT_NOW],
    )


def _top_row() -> list[Panel]:
    newest_model = (
        f'SELECT last("model") AS "model" FROM "pipeline" WHERE "region" = \'$region\' AND "model" != \'\' AND {FRESH}'
    )
    return [
        _age(),
        stat(
            "Scores are for",
            "The moment from which the newest scores look ahead, in this browser's time zone. Shown also when "
            "they are stale.",
            (7, 3),
            "SELECT 1000 * " + AS_OF.format(alias='AS "as_of"', since="time > now() - 7d"),
            CLOCK,
            without=STALE,
            colour=GREY,
            background=False,
        ),
        sums(NEWEST, (9, 3)),
        stat(
            "Made by",
            "network: the region's trained model; in a region that began without past incidents it is not trained yet "
            "and adds nothing. BASELINE ONLY: the network did not answer; the scores are the long-run rate for this "
            "hour of the week, and lift is 1 everywhere. WITHHELD: the agency shows no scores; `health` says why.",
            (4, 3),
            newest_model,
            "string",
            text="model",
            without=STALE,
            mappings=networks("BASELINE ONLY", "network"),
        ),
    ]


def _unusual() -> Panel:
    return stat(
        "More than usual",
        f"The place whose last 1, 2 or 4 hours had more incidents than chance shows once in {UNUSUAL_DAYS:g} days "
        "anywhere in the region: from its south-western to its north-eastern cell. `all`: of all categories together. "
        "FEED SILENT: so few incidents came that nobody knows what happens. NOTHING STANDS OUT: neither.",
        (24, 3),
        f'SELECT last("says") AS "says" {OF_UNUSUAL}',
        "string",
        text="says",
        without=STALE,
        colour=AMBER,
        background=True,
        mappings=[{"type": "value", "options": {"": {"text": "NOTHING STANDS OUT", "color": GREY, "index": 1}}}],
    )


def _columns() -> list[Json]:
    hidden = {"tooltip": True, "viz": False, "legend": True}
    incidents = {"unit": "suffix: incidents", "decimals": 3}
    return [
        column("Time", displayName="Minute", unit=CLOCK),
        column("shade", thresholds=SHADES, custom__hideFrom=hidden),
        column("risk", unit="percentunit", decimals=1, displayName="Chance of at least one"),
        column("lift", unit="suffix: x usual", decimals=2, displayName="Lift"),
        column("expected", **incidents, displayName="Expected"),
        column("usual", **incidents, displayName="Usual"),
        column("low", unit="suffix: incidents", decimals=0, displayName="Nine of ten outcomes: from"),
        column("high", unit="suffix: incidents", decimals=0, displayName="Nine of ten outcomes: to"),
        column("observed_1h", unit="suffix: incidents", decimals=0, displayName="Seen in the last hour"),
        column("support", displayName="History"),
        column("cell", unit="string", displayName="Cell", links=[CELL_LINK]),
        column("says", unit="string", displayName="More than usual"),
        column("observed", unit="none", decimals=0, custom__hideFrom=hidden),
        *(column(name, unit="string", custom__hideFrom=hidden) for name in ("geohash", "middle")),
    ]


def _map() -> Panel:
    return asking_panel(
        "geomap",
        "$colour: $category, next $horizon",
        "Each square is a cell. Colour by the chance of at least one incident or by lift over the usual "
        "(switch at the top). Grey cells have no history or lie outside the chosen area; with STALE across the "
        "map the scores are old. A ring with a number: so many incidents, more than usual, in the place around it. "
        "A click shows the numbers.",
        (16, 15),
        [MAP, NO_CELL, IS_STALE, UNUSUAL],
        options={
            "view": {"id": "fit", "lat": 0, "lon": 0, "zoom": 10, "allLayers": False, "layer": "Centres of cells"},
            "controls": {"showZoom": True, "mouseWheelZoom": True, "showAttribution": True, "showScale": True},
            "basemap": land(),
            "layers": coloured("shade", beneath=[stale()], above=unusual()),
            "tooltip": {"mode": "details"},
        },
        defaults={"unit": "short", "thresholds": SHADES, "color": {"mode": "thresholds"}},
        overrides=_columns(),
        maxDataPoints=10_000,
    )


def _highest() -> Panel:
    order = {name: place for place, name in enumerate(("cell", "risk", "lift", "expected"))}
    shown = {
        "excludeByName": {"Time": True, "shade": True, "usual": True, "support": True},
        "indexByName": order,
        "renameByName": {},
    }
    return table(
        "The ten highest: $colour",
        "The highest of the chosen cells by what the map shows; for a lift those with enough history. "
        "A cell is named by its row from the south (r) "
        "and its column from the west (c). A click on it opens its own page. Empty when the scores are stale.",
        (8, 12),
        ten_highest(NEWEST, LIFT),
        [
            column("cell", unit="string", displayName="Cell", links=[CELL_LINK], custom__minWidth=90),
            column("risk", unit="percentunit", decimals=1, displayName="Chance"),
            column("lift", unit="none", decimals=2, displayName="x usual"),
            column("expected", unit="none", decimals=2, displayName="Expected", custom__minWidth=80),
        ],
        without=STALE,
        transformations=[HIGHEST_FIRST, {"id": "organize", "options": shown}],
    )


def _colour() -> Json:
    first = COLOUR_BY[0]
    return {
        "type": "custom",
        "name": "colour",
        "label": "Colour by",
        "description": "What the colours of the map and the order of the list stand for",
        "valuesFormat": "json",
        "query": json.dumps(COLOUR_BY),
        "current": {"text": first["text"], "value": first["value"]},
        "multi": False,
        "includeAll": False,
    }


def live() -> Json:
    panels = [
        *_top_row(),
        _unusual(),
        _map(),
        _highest(),
        text("Colours", legend(), (8, 3)),
        change((24, 3)),
        text("How to read the map", HOW_TO, (24, 5)),
    ]
    return page(
        UID,
        "Live risk map",
        "Where the next hours' incidents are likely, for staging units. Places, never people.",
        panels,
        [*choices_of_place(), area_variable(), _colour(), newest_frame()],
        since="now-1h",
        refresh="5s",
        timepicker={"hidden": True},  # with the refresh off, an age would stand still
    )

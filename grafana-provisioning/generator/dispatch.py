"""The dispatchers' pages. Live risk map: where to look now. Cell: one square over time, reached from the map."""

import json

from generator.build import (
    AMBER,
    BAND,
    BLUE,
    CLOCK,
    COLOUR_BY,
    DASHED,
    FRESH,
    GREY,
    HIDDEN,
    LIFT,
    NOT_NOW,
    ORANGE,
    PLACE,
    PLAIN,
    PURPLE,
    RED,
    REGION,
    SHADES,
    STALE,
    WHOLE,
    Json,
    between,
    choice,
    choice_of_bucket,
    choices_of_place,
    column,
    empty_text,
    fixed,
    legend,
    lines,
    long,
    map_of_cells,
    mark,
    networks,
    newest_frame,
    page,
    stat,
    table,
    text,
    timeline,
)
from generator.model import follows_a_change
from schemas.limits import OLDEST_SCORES_S, UNUSUAL_DAYS

INCIDENTS = "suffix: incidents"

# The districts that a person chooses on the live map, all cells at first; `cells --areas` fills them in, and until then
# the choice is hidden. Each has its cells' regular expression beside its name, so that a page's address holds names.
AREA: Json = {
    "type": "custom",
    "name": "area",
    "label": "Area",
    "description": "Map, list and sums of these districts alone. The page's address keeps the choice: bookmark it.",
    "valuesFormat": "json",
    "query": "[]",
    "hide": 2,
    "skipUrlSync": True,  # an address with an area must not empty a map that has none to choose from
    "multi": True,
    "includeAll": True,
    "allValue": ".*",
    "allowCustomValue": False,
    "current": {"text": ["All"], "value": ["$__all"]},
}
COLOUR: Json = {
    "type": "custom",
    "name": "colour",
    "label": "Colour by",
    "description": "What the colours of the map and the order of the list stand for",
    "valuesFormat": "json",
    "query": json.dumps(COLOUR_BY),
    "current": {"text": COLOUR_BY[0]["text"], "value": COLOUR_BY[0]["value"]},
    "multi": False,
    "includeAll": False,
}

_FIELDS = '"expected", "usual", "low", "high", "observed_1h", "support"'
# The newest score of each chosen cell. Of the rows, not of the measurement: the same answer in two thirds of the time.
NEWEST = (
    f'SELECT last("risk") AS "r", {_FIELDS} FROM (SELECT "risk", {_FIELDS} FROM "risk" '
    f'WHERE {PLACE} AND "cell" =~ /^(${{area.cells:pipe}})$/ AND {WHOLE}) GROUP BY "cell", "geohash"'
)
MAP = (
    f'SELECT "cell", "r" AS "risk", {LIFT} AS "lift", "expected", "usual", "low", "high", "observed_1h", "support", '
    f'${{colour.by:raw}} AS "shade", "geohash" FROM ({NEWEST}) WHERE "support" != \'no_history\''
)
# A row as long as the job has run within a month, so that there is one when the scores are stale and MAP gives none.
NO_CELL = (
    'SELECT last("model") AS "geohash", "model" AS "cell", "as_of" AS "shade" FROM "pipeline" '
    f"WHERE {REGION} AND time > now() - 30d"
)
# By this screen's clock: InfluxQL knows no row that is missing.
IS_STALE = (
    'SELECT "scores_of", "middle" FROM (SELECT last("scores_of") AS "scores_of", "middle" FROM "pipeline" '
    f'WHERE {REGION} AND time > now() - 30d) WHERE "scores_of" < ${{__to}} / 1000 - {OLDEST_SCORES_S}'
)
OF_UNUSUAL = f'FROM "unusual" WHERE {REGION} AND "category" = \'$category\' AND {WHOLE}'
UNUSUAL = (
    'SELECT "says", "observed", "middle" FROM '
    f'(SELECT last("days") AS "days", "says", "observed", "middle" {OF_UNUSUAL}) WHERE "days" > 0'
)
AS_OF = f'last("scores_of") {{alias}} FROM "pipeline" WHERE {REGION} AND "scores_of" > 0 AND {{since}}'
# The chosen cells that are highest by the map's colours, in no order: top() sorts by time.
_OF_HIGHEST = '"r", "expected", "usual", "cell", "support"'
TEN_HIGHEST = (
    f'SELECT "shade", "r" AS "risk", {LIFT} AS "lift", "expected", "usual", "cell", "support" FROM '
    f'(SELECT top("s", 10) AS "shade", {_OF_HIGHEST} FROM (SELECT ${{colour.by:raw}} AS "s", {_OF_HIGHEST} '
    f'FROM ({NEWEST}) WHERE "support" =~ /^(${{colour.known:raw}})$/))'
)
CELL_LINK = {
    "title": "This cell over time",
    "url": "/d/risk-cell?var-region=${region}&var-category=${category}&var-horizon=${horizon}&var-cell=${__value.raw}",
}

HOW_TO = """**Colours** begin at the number below them, and mean the same in every region, category and hour, and on the
service's map: the more a cell stands out, the higher. `Colour by` switches map and list between the **chance of at
least one incident** within the horizon and the **lift**: expected over what is usual at this hour of the week. `all` is
every category together. The map changes when all scores of a minute are stored. **Every cell grey and STALE across the
map: do not rely on it.** Some grey: nothing was ever reported there, or they lie outside the chosen area; nothing is
known. A quiet cell is not a safe cell.

The scores are for readiness, that units stand in the right place. They say nothing about people."""


def live() -> Json:
    return page(
        "risk-live",
        "Live risk map",
        "Where the next hours' incidents are likely, for staging units. Places, never people.",
        [
            *_newest_scores(),
            _map(),
            table(
                "The ten highest: $colour",
                "The highest of the chosen cells by what the map shows; for a lift those with enough history. "
                "A cell is named by its row from the south (r) and its column from the west (c), after its district or "
                "the nearest place where `cells` was given these. A click on it opens its own page. "
                "Empty when the scores are stale.",
                (8, 12),
                TEN_HIGHEST,
                [
                    column("cell", unit="string", displayName="Cell", links=[CELL_LINK], custom__minWidth=200),
                    column("risk", unit="percentunit", decimals=1, displayName="Chance"),
                    column("lift", unit="none", decimals=2, displayName="x usual"),
                    column("expected", unit="none", decimals=2, displayName="Expected", custom__minWidth=80),
                ],
                without=STALE,
                transformations=[
                    {"id": "sortBy", "options": {"fields": {}, "sort": [{"field": "shade", "desc": True}]}},
                    {
                        "id": "organize",
                        "options": {
                            "excludeByName": {"Time": True, "shade": True, "usual": True, "support": True},
                            "indexByName": {"cell": 0, "risk": 1, "lift": 2, "expected": 3},
                            "renameByName": {},
                        },
                    },
                ],
            ),
            text("Colours", legend(), (8, 3)),
            follows_a_change((24, 3)),
            text("How to read the map", HOW_TO, (24, 5)),
        ],
        [*choices_of_place(), AREA, COLOUR, newest_frame()],
        since="now-1h",
        refresh="5s",
        timepicker={"hidden": True},  # with the refresh off, an age would stand still
    )


def _newest_scores() -> list[Json]:
    return [
        stat(
            "Age of the scores",
            "Seconds between the moment the shown scores are for and the end of the shown time. Without scores of the "
            "last three minutes, by the store's clock, this says STALE, and map, table and numbers go grey or empty: "
            "do not rely on them. No data means the same. NOT NOW: the shown time ends in the past, or this screen's "
            "clock is wrong.",
            (4, 3),
            "SELECT ${__to} / 1000 - " + AS_OF.format(alias='AS "age"', since=WHOLE),
            "suffix: s",
            decimals=0,
            without=STALE,
            mappings=[between(OLDEST_SCORES_S, None, STALE, 1), NOT_NOW],
        ),
        stat(
            "Scores are for",
            "The moment from which the newest scores look ahead, in this browser's time zone. Shown also when "
            "they are stale.",
            (7, 3),
            "SELECT 1000 * " + AS_OF.format(alias='AS "as_of"', since="time > now() - 7d"),
            CLOCK,
            without=STALE,
            **PLAIN,
        ),
        stat(
            "Expected in the next $horizon",
            "Incidents that the scores expect in the chosen cells, how that compares with what is usual there at this "
            "hour of the week, and how many were counted in the last hour. Cells without a history are left out.",
            (9, 3),
            'SELECT sum("expected") AS "expected", sum("expected") / sum("usual") AS "x usual", '
            f'sum("observed_1h") AS "seen in 1h" FROM ({NEWEST}) WHERE "support" != \'no_history\'',
            "none",
            without=STALE,
            decimals=1,
            named=True,
            background=False,
            overrides=[column("x usual", decimals=2), column("seen in 1h", decimals=0)],
        ),
        stat(
            "Made by",
            "network: the region's trained model; in a region that began without past incidents it is not trained yet "
            "and adds nothing. BASELINE ONLY: the network did not answer; the scores are the long-run rate for this "
            "hour of the week, and lift is 1 everywhere. WITHHELD: the agency shows no scores; `health` says why.",
            (4, 3),
            f'SELECT last("model") AS "model" FROM "pipeline" WHERE {REGION} AND "model" != \'\' AND {FRESH}',
            text="model",
            without=STALE,
            mappings=networks("BASELINE ONLY", "network"),
        ),
        stat(
            "More than usual",
            f"The place whose last 1, 2 or 4 hours had more incidents than chance shows once in {UNUSUAL_DAYS:g} days "
            "anywhere in the region: from its south-western to its north-eastern cell. `all`: of all categories "
            "together. FEED SILENT: so few incidents came that nobody knows what happens. NOTHING STANDS OUT: neither.",
            (24, 3),
            f'SELECT last("says") AS "says" {OF_UNUSUAL}',
            text="says",
            without=STALE,
            colour=AMBER,
            mappings=[empty_text("NOTHING STANDS OUT")],
        ),
    ]


def _map() -> Json:
    counted = {"mode": "field", "field": "observed"}
    return map_of_cells(
        "$colour: $category, next $horizon",
        "Each square is a cell. Colour by the chance of at least one incident or by lift over the usual "
        "(switch at the top). Grey cells have no history or lie outside the chosen area; with STALE across the "
        "map the scores are old. A ring with a number: so many incidents, more than usual, in the place around it. "
        "A click shows the numbers.",
        (16, 15),
        [MAP, NO_CELL, IS_STALE, UNUSUAL],
        "shade",
        shades=SHADES,
        columns=[
            column("Time", displayName="Minute", unit=CLOCK),
            column("shade", thresholds=SHADES, custom__hideFrom=HIDDEN),
            column("risk", unit="percentunit", decimals=1, displayName="Chance of at least one"),
            column("lift", unit="suffix: x usual", decimals=2, displayName="Lift"),
            column("expected", unit=INCIDENTS, decimals=3, displayName="Expected"),
            column("usual", unit=INCIDENTS, decimals=3, displayName="Usual"),
            column("low", unit=INCIDENTS, decimals=0, displayName="Nine of ten outcomes: from"),
            column("high", unit=INCIDENTS, decimals=0, displayName="Nine of ten outcomes: to"),
            column("observed_1h", unit=INCIDENTS, decimals=0, displayName="Seen in the last hour"),
            column("support", displayName="History"),
            column("cell", unit="string", displayName="Cell", links=[CELL_LINK]),
            column("says", unit="string", displayName="More than usual"),
            column("observed", unit="none", decimals=0, custom__hideFrom=HIDDEN),
            *(column(name, unit="string", custom__hideFrom=HIDDEN) for name in ("geohash", "middle")),
        ],
        # IS_STALE gives a row only while the scores are stale: then the word stands across the map.
        beneath=[mark("Stale", "C", RED, words={"mode": "fixed", "fixed": STALE}, font_px=48)],
        # How many incidents were counted in an unusual place: a number in a ring, on a disk of the ground.
        above=[
            mark("Beneath the number", "D", "panel-bg", radius_px=22, opacity=0.75),
            mark("More than usual", "D", "text", radius_px=22, words=counted, font_px=24, tooltip=True),
        ],
    )


FACTORS = {
    "here": "Here",
    "next_door": "Next door",
    "level": "Region",
    "memory": "Memory",
    "time": "Time",
    "network": "Network",
}
SUPPORT: Json = {
    "type": "value",
    "options": {
        name: {"color": colour, "index": index}
        for index, (name, colour) in enumerate({"ok": BLUE, "sparse": AMBER, "no_history": GREY}.items(), start=1)
    },
}
HERE = f"{PLACE} AND \"cell\" = '$cell'"
NOW = f"WHERE {HERE} AND {WHOLE}"
# An outage is a gap.
EACH_MOMENT = "$timeFilter GROUP BY time($__interval) fill(null)"
OVER_TIME = f"FROM {long('risk')} WHERE {HERE} AND {EACH_MOMENT}"

IN_WORDS = """**Expected** is how many incidents the scores foresee here within the horizon; **usual** is
the long-run rate for this hour of the week. **Low** and **high** hold nine of ten outcomes. **Seen** is what was
reported in the last hour, whatever the horizon.

**What made the newest score**: usual, times the six factors beside it, is what is expected. A factor of 1 changes
nothing. *Here* and *next door*: recent counts. *Region*: its level. *Memory*: counts of months. *Time*: of day and
week. *Network*: the rest, all else at its mean. Only the ten cells with the highest risk of a category and horizon
carry factors. For any other, and for what made the usual itself (long memory, hour of the week), as of where the
model's data end:

```
risk explain --region ${region} --cell ${cell} --artifacts FOLDER
```

Support `ok`: enough history. `sparse`: little, borrowed from the neighbourhood. `no_history`: nothing was ever reported
here; the number stands for nothing."""


def cell() -> Json:
    cells = f'SHOW TAG VALUES FROM "risk" WITH KEY = "cell" WHERE {REGION}'
    fields = ", ".join(f'"{name}"' for name in ("usual", *(f"by_{name}" for name in FACTORS), "expected"))
    band = {"custom__lineWidth": 0, "custom__showPoints": "never"}
    return page(
        "risk-cell",
        "Cell",
        "One cell over time: expected, interval, usual, seen.",
        [
            *_numbers(),
            lines(
                "Expected, usual and what nine of ten outcomes lie between",
                "Incidents within the horizon. The band is the 90 % predictive interval; a band that reaches "
                "down to 0: there may well be none.",
                (24, 9),
                f'SELECT mean("low") AS "low", mean("high") AS "high", mean("expected") AS "expected", '
                f'mean("usual") AS "usual" {OVER_TIME}',
                INCIDENTS,
                reach=0.1,
                overrides=[
                    fixed("low", BLUE, **band),
                    fixed("high", BLUE, **BAND, **band),
                    fixed("expected", BLUE),
                    fixed("usual", ORANGE, **DASHED),
                ],
            ),
            lines(
                "Seen in the last hour",
                "Incidents counted here in the hour before each moment.",
                (12, 7),
                f'SELECT max("observed_1h") AS "seen" {OVER_TIME}',
                INCIDENTS,
                overrides=[fixed("seen", RED, custom__lineInterpolation="stepAfter")],
            ),
            lines(
                "Lift over usual",
                "1 is as always at this hour of the week.",
                (12, 7),
                f'SELECT mean("expected") / mean("usual") AS "lift" {OVER_TIME}',
                "suffix: x usual",
                overrides=[fixed("lift", PURPLE)],
            ),
            table(
                "What made the newest score",
                "Usual, times the factors, is what is expected. Empty where the cell is not among the ten with the "
                "highest risk of this category and horizon now, and where no score came within three minutes.",
                (24, 4),
                f'SELECT {fields} FROM "top" {NOW} AND time > 0${{frame:raw}}s - 1m AND "by_here" > 0',
                [
                    column("usual", displayName="Usual", unit="none", decimals=3),
                    *(
                        column(f"by_{name}", displayName=words, unit="prefix:x ", decimals=2)
                        for name, words in FACTORS.items()
                    ),
                    column("expected", displayName="Expected", unit="none", decimals=3),
                ],
                without="Only the ten cells with the highest risk of a category, not of all, carry factors",
            ),
            timeline(
                "Who made the scores, and on how much history",
                "The model version in force and the support of this cell. `baseline` means that the network did not "
                "answer, WITHHELD that the agency shows no scores. A gap: no scores.",
                (10, 11),
                [
                    f'SELECT last("model") AS "model" FROM {long("pipeline")} WHERE {REGION} AND {EACH_MOMENT}',
                    f'SELECT last("support") AS "support" {OVER_TIME}',
                ],
                [
                    column("model", displayName="Model", mappings=networks()),
                    column("support", displayName="Support", mappings=[SUPPORT]),
                ],
                without="no scores",
            ),
            text("In words", IN_WORDS, (14, 11)),
        ],
        [
            *choices_of_place(),
            choice_of_bucket(),
            newest_frame(),
            choice("cell", "Cell", cells, "Row and column of the square, from the south-west"),
        ],
    )


def _numbers() -> list[Json]:
    a_sixth = (4, 4)

    def forecast(title: str, description: str, expression: str, name: str, unit: str) -> Json:
        """What the newest scores foresee; of a cell without history the number stands for nothing."""
        newest = f'SELECT last("risk") AS "risk", "expected", "usual", "support" FROM "risk" {NOW}'
        query = f'SELECT {expression} AS "{name}" FROM ({newest}) WHERE "support" != \'no_history\''
        description = f"{description} No number without history."
        digits = {"decimals": 3} if unit == INCIDENTS else {}
        return stat(title, description, a_sixth, query, unit, without="STALE or no history", **digits)

    soon = "Of at least one incident within the horizon, from the newest minute."
    return [
        forecast("Chance", soon, '"risk"', "risk", "percentunit"),
        forecast("Expected", "Incidents foreseen within the horizon.", '"expected"', "expected", INCIDENTS),
        forecast("Usual", "The long-run rate for this hour of the week.", '"usual"', "usual", INCIDENTS),
        forecast("Lift", "Expected over usual: 1 is as always at this hour.", LIFT, "lift", "suffix: x usual"),
        stat(
            "Seen, 1 hour",
            "Incidents counted here in the last hour.",
            a_sixth,
            f'SELECT last("observed_1h") AS "observed_1h" FROM "risk" {NOW}',
            INCIDENTS,
            without=STALE,
        ),
        stat(
            "Support",
            "How much history stands behind the numbers.",
            a_sixth,
            f'SELECT last("support") AS "support" FROM "risk" {NOW}',
            text="support",
            without=STALE,
            mappings=[SUPPORT],
        ),
    ]

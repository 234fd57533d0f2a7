"""Trends: counts and risk by category, hour of the week, district and week, for an analyst."""

# ruff: noqa: S608 - these are queries for Grafana, made from constants

from generator.build import TABLE_OPTIONS, Panel, asking_panel, lines, page, table, text
from generator.looks import AMBER, BLUE, ORANGE, STALE, Json, column, fixed, one_colour, steps
from generator.store import OUTCOME, OUTCOME_AREA, WHOLE, choice_of_bucket, choices_of_place, newest_frame

UID = "risk-trends"
CATEGORIES = '"category" =~ /^${categories:regex}$/'
# One closed forecast of one hour per hour: the first tick of each, so that no incident is counted twice.
HOURLY = (
    f'SELECT first("observed") AS "seen", first("expected") AS "expected" FROM {OUTCOME} '
    f"WHERE \"region\" = '$region' AND \"horizon\" = '1h' AND {CATEGORIES} AND $timeFilter "
    'GROUP BY time(1h), "category" fill(none)'
)
DAYS = {1: "Mon", 2: "Tue", 3: "Wed", 4: "Thu", 5: "Fri", 6: "Sat", 7: "Sun"}

LONG = '"risk_long"'  # what eight weeks are read from, whatever is chosen above: the other bucket keeps a month

WORDS = """Counts come from forecasts of one hour that have **closed**: the newest bar is one to two hours old. **An
hour in which the system did not run has no bar, and is missing in weeks and means**: a dip may be an outage. *Hour of
the week* has the region's own hours and days; elsewhere weeks and days are UTC, and axes have your browser's time
zone. A place that reports less looks quieter than it is. Long ranges read one value per hour, never each minute."""


def _for_long(query: str) -> str:
    return query.replace('"${bucket:raw}"', LONG)


def _week() -> Panel:
    """Hour against weekday: Grafana's transformations make the matrix.

    A column cannot be narrower than 50 pixels, so the hours are the rows, and all of them are in sight.
    """
    each = _for_long(
        'SELECT first("observed") AS "seen", first("weekday") AS "weekday", first("hour") AS "hour" '
        f"FROM {OUTCOME} WHERE \"region\" = '$region' AND \"horizon\" = '1h' AND {CATEGORIES} AND $timeFilter "
        'GROUP BY time(1h), "category" fill(none)'
    )
    query = (
        f'SELECT sum("seen") AS "seen", max("weekday") AS "weekday", max("hour") AS "hour" FROM ({each}) '
        "WHERE $timeFilter GROUP BY time(1h) fill(none)"
    )
    groups = {
        "weekday": {"operation": "groupby", "aggregations": []},
        "hour": {"operation": "groupby", "aggregations": []},
        "seen": {"operation": "aggregate", "aggregations": ["mean"]},
    }
    # Fifths from the least to the most: any base rate gives a picture, and the letters stand out in both themes.
    shade = steps((None, "transparent"), (20, "#0072B21F"), (40, "#0072B247"), (60, BLUE), (80, AMBER))
    # As a text, or the hour's number would take part in the scale of the colours.
    as_text = {"targetField": "hour", "destinationType": "string"}
    matrix = {"rowField": "hour", "columnField": "weekday", "valueField": "seen (mean)", "emptyValue": "null"}
    return asking_panel(
        "table",
        "Hour of the week",
        "Mean incidents in an hour, all chosen categories together, by the region's local hour (rows) "
        "and weekday (columns), over eight weeks. Colours are fifths of the span from the least to the most, amber the "
        "uppermost.",
        (12, 26),
        query,
        options=TABLE_OPTIONS,
        defaults={
            "unit": "none",
            "decimals": 1,
            "custom": {
                "align": "center",
                "minWidth": 50,
                "cellOptions": {"type": "color-background", "mode": "basic"},
            },
            "thresholds": {"mode": "percentage", "steps": shade["steps"]},
            "color": {"mode": "thresholds"},
        },
        overrides=[
            column("hour\\weekday", displayName="Hour", unit="string", custom__cellOptions={"type": "auto"}),
            *[column(str(number), displayName=name) for number, name in DAYS.items()],
        ],
        timeFrom="8w",
        transformations=[
            {"id": "groupBy", "options": {"fields": groups}},
            {"id": "sortBy", "options": {"fields": {}, "sort": [{"field": "hour"}]}},
            {"id": "sortBy", "options": {"fields": {}, "sort": [{"field": "weekday"}]}},
            {"id": "convertFieldType", "options": {"fields": {}, "conversions": [as_text]}},
            {"id": "groupingToMatrix", "options": matrix},
        ],
    )


def _districts() -> Panel:
    daily = (
        f'SELECT first("observed") AS "seen", first("expected") AS "expected" FROM {OUTCOME_AREA} '
        f"WHERE \"region\" = '$region' AND \"horizon\" = '24h' AND {CATEGORIES} AND $timeFilter "
        'GROUP BY time(1d), "district", "category" fill(none)'
    )
    query = (
        'SELECT sum("seen") AS "seen", sum("expected") AS "expected", sum("seen") / sum("expected") AS "ratio" '
        f'FROM ({daily}) GROUP BY "district"'
    )
    return table(
        "Districts",
        "Incidents seen and expected per district in the shown time: one forecast of 24 hours a day. Districts are "
        "parts of the grid, 01 in the south-west.",
        (12, 9),
        query,
        [
            column("district", unit="string", displayName="District"),
            column("seen", unit="none", decimals=0, displayName="Seen"),
            column("expected", unit="none", decimals=1, displayName="Expected"),
            column("ratio", unit="none", decimals=2, displayName="Seen / expected"),
        ],
    )


def trends() -> Json:
    weekly = (
        f'SELECT sum("seen") AS "seen" FROM ({HOURLY}) WHERE $timeFilter GROUP BY time(1w, 4d), "category" fill(none)'
    )
    # Summed in each moment that has scores, then the newest: a fourth of the time of the newest of each cell, summed.
    newest = (
        'SELECT sum("expected") AS "e" FROM "risk" WHERE "region" = \'$region\' AND '
        f'"horizon" = \'$horizon\' AND {CATEGORIES} AND {WHOLE} GROUP BY time(1s), "category" fill(none)'
    )
    both = (
        f'SELECT sum("seen") AS "seen", sum("expected") AS "expected" FROM ({HOURLY}) '
        "WHERE $timeFilter GROUP BY time(1h) fill(null)"
    )
    panels = [
        lines(
            "Incidents in an hour, by category",
            "What was counted, hour by hour.",
            (12, 9),
            HOURLY.replace(', first("expected") AS "expected"', ""),
            "suffix: incidents",
            alias="$tag_category",
            bars=True,
        ),
        _week(),
        lines(
            "Seen and expected in an hour, all chosen categories",
            "What was counted beside what the forecast made at the start of that hour foresaw.",
            (12, 8),
            both,
            "suffix: incidents",
            overrides=[fixed("seen", ORANGE), fixed("expected", BLUE)],
        ),
        lines(
            "Week over week",
            "Incidents in a week from Monday (UTC), by category; the newest week is not complete, nor is one with "
            "hours in which the system did not run.",
            (12, 8),
            _for_long(weekly),
            "suffix: incidents",
            alias="$tag_category",
            bars=True,
            timeFrom="8w",
        ),
        _districts(),
        table(
            "Expected now in the whole region, next $horizon",
            "Incidents foreseen by the newest scores, by category. Empty when the scores are stale.",
            (12, 9),
            f'SELECT last("e") AS "expected" FROM ({newest}) GROUP BY "category"',
            [
                column("category", unit="string", displayName="Category"),
                column(
                    "expected",
                    unit="none",
                    decimals=1,
                    min=0,
                    displayName="Incidents",
                    **one_colour(BLUE),
                    custom__cellOptions={"type": "gauge", "mode": "basic", "valueDisplayMode": "text"},
                ),
            ],
            without=STALE,
        ),
        text("About these counts", WORDS, (24, 4)),
    ]
    return page(
        UID,
        "Trends",
        "Counts and forecasts by category, hour of the week, district and week.",
        panels,
        [*choices_of_place(several_categories=True), choice_of_bucket(), newest_frame()],
        since="now-7d",
        refresh="5m",
    )

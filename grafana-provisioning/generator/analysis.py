"""Trends: counts and risk by category, hour of the week, district and week. Does it help?: how often it was right."""

from generator.build import (
    AMBER,
    BLUE,
    GREY,
    ORANGE,
    OUTCOME,
    OUTCOME_AREA,
    PLAIN,
    PURPLE,
    REGION,
    STALE,
    TABLE_OPTIONS,
    WHOLE,
    Json,
    asking_panel,
    between,
    choice_of_bucket,
    choices_of_place,
    column,
    filled_by_level,
    fixed,
    lines,
    long,
    newest_frame,
    one_colour,
    page,
    stat,
    steps,
    table,
    text,
)
from schemas.limits import CALIBRATION_BAND

CATEGORIES = '"category" =~ /^${categories:regex}$/'
# Closed forecasts of one hour, by category: the first tick of each hour, so that no incident is counted twice.
_OF_AN_HOUR = f'{REGION} AND "horizon" = \'1h\' AND {CATEGORIES} AND $timeFilter GROUP BY time(1h), "category"'
HOURLY = f"FROM {OUTCOME} WHERE {_OF_AN_HOUR} fill(none)"
LONG = HOURLY.replace('"${bucket:raw}"', '"risk_long"')  # of eight weeks, whatever is chosen: the other keeps a month
DAYS = {1: "Mon", 2: "Tue", 3: "Wed", 4: "Thu", 5: "Fri", 6: "Sat", 7: "Sun"}

COUNTS = """Counts come from forecasts of one hour that have **closed**: the newest bar is one to two hours old. **An
hour in which the system did not run has no bar, and is missing in weeks and means**: a dip may be an outage. *Hour of
the week* has the region's own hours and days; elsewhere weeks and days are UTC, and axes have your browser's time
zone. A place that reports less looks quieter than it is. Long ranges read one value per hour, never each minute."""


def trends() -> Json:
    both = 'first("observed") AS "seen", first("expected") AS "expected"'
    # Summed in each moment that has scores, then the newest: a fourth of the time of the newest of each cell, summed.
    newest = (
        f'SELECT sum("expected") AS "e" FROM "risk" WHERE {REGION} AND '
        f'"horizon" = \'$horizon\' AND {CATEGORIES} AND {WHOLE} GROUP BY time(1s), "category" fill(none)'
    )
    daily = (
        f"SELECT {both} FROM {OUTCOME_AREA} WHERE {REGION} AND \"horizon\" = '24h' AND {CATEGORIES} AND $timeFilter "
        'GROUP BY time(1d), "district", "category" fill(none)'
    )
    return page(
        "risk-trends",
        "Trends",
        "Counts and forecasts by category, hour of the week, district and week.",
        [
            lines(
                "Incidents in an hour, by category",
                "What was counted, hour by hour.",
                (12, 9),
                f'SELECT first("observed") AS "seen" {HOURLY}',
                "suffix: incidents",
                alias="$tag_category",
                bars=True,
            ),
            _hour_of_the_week(),
            lines(
                "Seen and expected in an hour, all chosen categories",
                "What was counted beside what the forecast made at the start of that hour foresaw.",
                (12, 8),
                f'SELECT sum("seen") AS "seen", sum("expected") AS "expected" FROM (SELECT {both} {HOURLY}) '
                "WHERE $timeFilter GROUP BY time(1h) fill(null)",
                "suffix: incidents",
                overrides=[fixed("seen", ORANGE), fixed("expected", BLUE)],
            ),
            lines(
                "Week over week",
                "Incidents in a week from Monday (UTC), by category; the newest week is not complete, nor is one with "
                "hours in which the system did not run.",
                (12, 8),
                f'SELECT sum("seen") AS "seen" FROM (SELECT {both} {LONG}) '
                'WHERE $timeFilter GROUP BY time(1w, 4d), "category" fill(none)',
                "suffix: incidents",
                alias="$tag_category",
                bars=True,
                timeFrom="8w",
            ),
            table(
                "Districts",
                "Incidents seen and expected per district in the shown time: one forecast of 24 hours a day. Districts "
                "are parts of the grid, 01 in the south-west.",
                (12, 9),
                'SELECT sum("seen") AS "seen", sum("expected") AS "expected", sum("seen") / sum("expected") AS "ratio" '
                f'FROM ({daily}) GROUP BY "district"',
                [
                    column("district", unit="string", displayName="District"),
                    column("seen", unit="none", decimals=0, displayName="Seen"),
                    column("expected", unit="none", decimals=1, displayName="Expected"),
                    column("ratio", unit="none", decimals=2, displayName="Seen / expected"),
                ],
            ),
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
            text("About these counts", COUNTS, (24, 4)),
        ],
        [*choices_of_place(several_categories=True), choice_of_bucket(), newest_frame()],
        since="now-7d",
        refresh="5m",
    )


def _hour_of_the_week() -> Json:
    """Hour against weekday: Grafana's transformations make the matrix.

    A column cannot be narrower than 50 pixels, so the hours are the rows, and all of them are in sight.
    """
    each = f'SELECT first("observed") AS "seen", first("weekday") AS "weekday", first("hour") AS "hour" {LONG}'
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
        f'SELECT sum("seen") AS "seen", max("weekday") AS "weekday", max("hour") AS "hour" FROM ({each}) '
        "WHERE $timeFilter GROUP BY time(1h) fill(none)",
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


# Closed forecasts of the chosen horizon
CLOSED = f"WHERE {REGION} AND \"horizon\" = '$horizon' AND {CATEGORIES} AND $timeFilter"
SOME = 'AND "observed" > 0'  # InfluxQL divides by zero to 0, and a day without incidents has no hit rate
LEAST_DAYS, SURE = 7, 3  # standard errors: days of long horizons overlap
FORECAST, SIMPLE, IDEAL = "this forecast", "simple baseline", "perfect foresight"

MARKS = {"useful": "useful", "not_useful": "not useful", "acted_on": "acted on"}
NO_MARK = "no mark yet: risk feedback send"

WHAT_IT_IS = """At the start of every hour the system foresees where incidents are likely within the horizon. An hour
after that time is over, it counts what was reported and writes the result here, and once more a day later, when late
reports have come. Nobody chooses the hours. One in whose first minute the system did not run is missing; *Hours judged*
says how many are there. **While the feed of incidents is cut off, hours look empty**; what comes more than a day late
stays missing here.

**Incidents inside the named 5 %**: the share that happened in the twentieth of the cells that the forecast had named.
**Each category has its own twentieth** of the cells where anything was ever reported; water and fields do not count.
`all` is not judged. The **simple baseline** names the places that were always busy at that hour. If the forecast is not
above it, it does not help. **Perfect foresight** is the best that anyone could have named afterwards: nobody can reach
it."""

WHAT_IT_IS_NOT = """It says where incidents are likely to be *reported*, not where people do wrong. It knows no person
and no address. It is for readiness of dispatch centres, fire, EMS and road safety; it must not be used for enforcement,
and it does not act without a person. Where less is reported, it sees less.

**Questions, objections, correction of an error:** ${contact}"""


def helps() -> Json:
    skill = '1 - mean("{0}") / mean("baseline_{0}")'
    low, high = CALIBRATION_BAND
    operator = "the operator of this service"
    contact: Json = {
        "type": "constant",
        "name": "contact",
        "label": "Contact",
        "description": "Who answers questions about this page: set it in the dashboard's file",
        "hide": 2,
        "query": operator,
        "current": {"text": operator, "value": operator},
    }
    return page(
        "risk-helps",
        "Does it help?",
        "How often the forecast was right, beside a simple baseline and perfect foresight.",
        [
            text("What this is", WHAT_IT_IS, (14, 8)),
            text("What this is not", WHAT_IT_IS_NOT, (10, 8)),
            *_hits(),
            lines(
                "Foreseen and seen",
                "Incidents within the horizon from each moment, all chosen categories: what was foreseen, what the "
                "usual rate was, what happened.",
                (12, 8),
                'SELECT sum("observed") AS "seen", sum("usual") AS "usual", sum("expected") AS "expected" FROM '
                f'(SELECT mean("expected") AS "expected", mean("usual") AS "usual", mean("observed") AS "observed" '
                f'FROM {OUTCOME} {CLOSED} GROUP BY time(1h), "category" fill(none)) '
                "WHERE $timeFilter GROUP BY time(1h) fill(null)",
                "suffix: incidents",
                overrides=[fixed("seen", ORANGE, custom__lineWidth=1), fixed("usual", GREY), fixed("expected", BLUE)],
            ),
            lines(
                "Better than the simple baseline, by day",
                "How much smaller the error is than the baseline's: Brier score of the chances, log score of the "
                "counts. Above 0 the forecast is better, below 0 it is worse.",
                (12, 8),
                f'SELECT {skill.format("brier")} AS "Brier score", {skill.format("log_score")} AS "log score" '
                f"FROM {OUTCOME} {CLOSED} GROUP BY time(1d) fill(null)",
                "percentunit",
                minimum=None,
                overrides=[fixed("Brier score", BLUE), fixed("log score", PURPLE)],
            ),
            table(
                "By district: seen over expected",
                "Districts are parts of the grid, 01 in the south-west. 1 is right on the whole. "
                f"Blue: {low:g} to {high:g}. Amber: the "
                "forecast leans here, and somebody should ask why; where few are expected it may be chance. Sums over "
                "the hours of the shown time, whose horizons overlap: larger than the number of incidents.",
                (12, 9),
                'SELECT sum("observed") AS "seen", sum("expected") AS "expected", '
                f'sum("observed") / sum("expected") AS "ratio" FROM {OUTCOME_AREA} {CLOSED} GROUP BY "district"',
                [
                    column("district", unit="string", displayName="District"),
                    column("seen", unit="none", decimals=0, displayName="Seen, summed"),
                    column("expected", unit="none", decimals=0, displayName="Expected, summed"),
                    column(
                        "ratio",
                        unit="none",
                        decimals=2,
                        displayName="Seen / expected",
                        **filled_by_level((None, AMBER), (low, BLUE), (high, AMBER)),
                    ),
                ],
            ),
            table(
                "When it said so, did it come?",
                "Cells by the chance of at least one incident that they were given. Where *said* is 30 %, an incident "
                "should have come in 30 of 100 such cells. A cell counts each hour anew; a line of few cells jumps.",
                (12, 9),
                'SELECT sum("cells") AS "cells", sum("said") / sum("cells") AS "said", '
                f'sum("came") / sum("cells") AS "came" FROM {long("outcome_chance")} {CLOSED} GROUP BY "chance"',
                [
                    column("chance", unit="suffix: % and more", displayName="Chance given"),
                    column("cells", unit="none", decimals=0, displayName="Cells"),
                    column("said", unit="percentunit", decimals=1, displayName="Said, on average"),
                    column("came", unit="percentunit", decimals=1, displayName="Came"),
                ],
            ),
            table(
                "When the last hour raised the forecast",
                "Hours that began in a surge: the last hour had brought far more than was expected. What came, "
                "what was expected, what would have been expected without that, and what is usual. Sums over "
                "the shown time.",
                (24, 4),
                'SELECT count("raised") AS "hours", sum("observed") AS "came", sum("expected") AS "expected", '
                f'sum("unraised") AS "without", sum("usual") AS "usual" FROM {OUTCOME} {CLOSED} AND "raised" > 1 '
                'GROUP BY "category"',
                [
                    column("category", unit="string", displayName="Category"),
                    column("hours", unit="none", decimals=0, displayName="Hours"),
                    column("came", unit="none", decimals=0, displayName="Came"),
                    column("expected", unit="none", decimals=0, displayName="Expected"),
                    column("without", unit="none", decimals=0, displayName="Expected without it"),
                    column("usual", unit="none", decimals=0, displayName="Usual"),
                ],
                without="no hour of the shown time began in a surge",
            ),
            *_marks(),
        ],
        [*choices_of_place(several_categories=True), choice_of_bucket(), contact],
        since="now-30d",
        refresh="5m",
    )


def _hits() -> list[Json]:
    # By days, as hours are alike: their mean difference over its standard error.
    by_day = (
        'SELECT (sum("hits_5") - sum("baseline_hits_5")) / sum("observed") AS "more" '
        f"FROM {OUTCOME} {CLOSED} {SOME} GROUP BY time(1d) fill(none)"
    )
    of_days = f'SELECT mean("more") AS "mean", stddev("more") AS "spread", count("more") AS "days" FROM ({by_day})'
    plain: Json = {"without": "nothing judged yet, or no data", **PLAIN}

    def shares(k: int) -> str:
        """Hits over incidents, three ways."""
        ways = (("hits", FORECAST), ("baseline_hits", SIMPLE), ("ideal_hits", IDEAL))
        of_some = ", ".join(f'sum("{field}_{k}") / sum("observed") AS "{name}"' for field, name in ways)
        return f"SELECT {of_some} FROM {OUTCOME} {CLOSED} {SOME}"

    def colours(simple: str) -> list[Json]:
        return [fixed(FORECAST, BLUE), fixed(SIMPLE, simple), fixed(IDEAL, GREY)]

    return [
        stat(
            "In words",
            f"Whether more incidents lay inside the named 5 % than the simple baseline's: by day, over {LEAST_DAYS} "
            f"days or more, a mean difference of {SURE} standard errors or more.",
            (24, 3),
            f'SELECT "mean" / "spread" * sqrt("days") AS "sure" FROM ({of_days}) WHERE "days" >= {LEAST_DAYS}',
            "none",
            without=f"fewer than {LEAST_DAYS} days judged: too few to say",
            colour=GREY,
            mappings=[
                between(None, -SURE, "Worse than the simple rule: do not use it", 1),
                between(SURE, None, "It helps: more incidents inside the named 5 % than by the simple rule", 2, BLUE),
                between(-SURE, SURE, "No measurable help over the simple rule", 3, GREY),
            ],
        ),
        *(
            stat(
                f"Incidents inside the named {k} % of the area",
                f"Share of the incidents in the shown time that happened in the {k} % of the cells named beforehand, "
                "by each category for itself.",
                (12, 5),
                shares(k),
                "percentunit",
                decimals=1,
                without="no incident, or no data",
                overrides=colours(AMBER),
                named=True,
            )
            for k in (5, 10)
        ),
        stat(
            "Last evaluation",
            "When the newest forecast that was judged had its result: an hour after its horizon's end, or a day later.",
            (8, 4),
            f'SELECT last("closed_s") * 1000 AS "closed" FROM {OUTCOME} {CLOSED}',
            "dateTimeFromNow",
            **plain,
        ),
        stat(
            "Seen over expected",
            "All incidents over all that was foreseen; 1 is right on the whole.",
            (8, 4),
            f'SELECT sum("observed") / sum("expected") AS "ratio" FROM {OUTCOME} {CLOSED}',
            "none",
            decimals=2,
            **plain,
        ),
        stat(
            "Hours judged",
            "Share of the shown hours with a forecast that was judged. The newest ones have not closed yet; others are "
            "missing where the system did not run.",
            (8, 4),
            'SELECT max("hours") * 3600000 / (${__to} - ${__from}) AS "judged" FROM '
            f'(SELECT count("observed") AS "hours" FROM {OUTCOME} {CLOSED} GROUP BY "category")',
            "percentunit",
            decimals=0,
            **plain,
        ),
        *(
            lines(
                f"By day: incidents inside the named {k} %",
                "The same share for each day of forecasts (UTC). Single days jump: look at the order of the lines.",
                (12, 8),
                f"{shares(k)} GROUP BY time(1d) fill(null)",
                "percentunit",
                overrides=colours(ORANGE),
            )
            for k in (5, 10)
        ),
    ]


def _marks() -> list[Json]:
    """What people said. They mark cells of any category and horizon, so these choices do not apply."""
    said = "Marks that shifts set on cells: useful, not useful, acted on. "
    sums = [
        f'SELECT sum("marks") AS "{shown}" FROM "feedback" WHERE "mark" = \'{mark}\' AND {REGION} AND $timeFilter'
        for mark, shown in MARKS.items()
    ]
    return [
        stat(
            "What shifts said",
            f"{said}They are what people think, not what happened: they are never counted as incidents, and no model "
            "learns from them. All categories and horizons; kept for a month.",
            (8, 8),
            sums,
            "none",
            decimals=0,
            **PLAIN,
            without=NO_MARK,
        ),
        lines(
            "What shifts said, by day",
            f"{said}By the day of the scores that are meant (UTC).",
            (16, 8),
            [f"{query} GROUP BY time(1d) fill(none)" for query in sums],
            "suffix: marks",
            bars=True,
            overrides=[
                fixed(shown, colour) for shown, colour in zip(MARKS.values(), (BLUE, ORANGE, PURPLE), strict=True)
            ],
            without=NO_MARK,
        ),
    ]

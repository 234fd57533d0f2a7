"""Does it help?: for whoever answers for the system. Live figures of forecasts whose horizon has closed."""

# ruff: noqa: S608 - these are queries for Grafana, made from constants

from generator.build import Panel, lines, page, stat, table, text
from generator.looks import AMBER, BLUE, GREY, ORANGE, PURPLE, Json, between, column, filled_by_level, fixed
from generator.store import OUTCOME, OUTCOME_AREA, OUTCOME_CHANCE, choice_of_bucket, choices_of_place
from schemas.limits import CALIBRATION_BAND

UID = "risk-helps"
CLOSED = (
    'WHERE "region" = \'$region\' AND "horizon" = \'$horizon\' AND "category" =~ /^${categories:regex}$/ '
    "AND $timeFilter"
)
SOME = 'AND "observed" > 0'  # InfluxQL divides by zero to 0, and a day without incidents has no hit rate
LEAST_DAYS, SURE = 7, 3  # standard errors: days of long horizons overlap
FORECAST, SIMPLE, IDEAL = "this forecast", "simple baseline", "perfect foresight"

MARKS = {"useful": "useful", "not_useful": "not useful", "acted_on": "acted on"}
NO_MARK = "no mark yet: python -m streaming feedback send"

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


def _share(k: int) -> str:
    """Hits over incidents, three ways."""
    return ", ".join(
        f'sum("{field}_{k}") / sum("observed") AS "{name}"'
        for field, name in (("hits", FORECAST), ("baseline_hits", SIMPLE), ("ideal_hits", IDEAL))
    )


def _colours(simple: str = ORANGE) -> list[Json]:
    return [fixed(FORECAST, BLUE), fixed(SIMPLE, simple), fixed(IDEAL, GREY)]


def _posts() -> Panel:
    """What a forecast is worth to units, first on the page: shares of calls, and not hits."""
    share = {"unit": "percentunit", "decimals": 1, "custom__width": 80}
    return table(
        "For units that answer calls: posts that follow the forecast, against the best posts that never move",
        "Shares of real calls that no model knew, within reach by straight line. Fixed: of the best fixed posts; more: "
        "by posts that follow, with its 95 % interval. Promised - kept: the share by the forecast, less that of the "
        "calls. Of networks made anew as this region's is.",
        (24, 4),
        'SELECT last("says") AS "says", "fixed", "gain", "low", "high", "promised_less_kept", "measured" FROM "posts" '
        'WHERE "region" = \'$region\' AND time > now() - 2d GROUP BY "setting"',
        [
            column("setting", unit="string", displayName="Units, reach", custom__width=120),
            column("says", unit="string", displayName="In words", custom__wrapText=True),
            column("fixed", displayName="Fixed", **share),
            column("gain", displayName="More", **share),
            column("low", displayName="Low", **share),
            column("high", displayName="High", **share),
            column("promised_less_kept", displayName="Promised - kept", **{**share, "custom__width": 125}),
            column("measured", unit="string", displayName="Measured", custom__width=260, custom__wrapText=True),
        ],
        without="none of the last two days: this region's units answer no calls (answered_by), or nobody ran "
        "models evaluate --posts 10 --artifacts FOLDER",
    )


def _in_words() -> Panel:
    """By days, as hours are alike: their mean difference over its standard error."""
    by_day = (
        'SELECT (sum("hits_5") - sum("baseline_hits_5")) / sum("observed") AS "more" '
        f"FROM {OUTCOME} {CLOSED} {SOME} GROUP BY time(1d) fill(none)"
    )
    of_days = f'SELECT mean("more") AS "mean", stddev("more") AS "spread", count("more") AS "days" FROM ({by_day})'
    return stat(
        "In words",
        f"Whether more incidents lay inside the named 5 % than the simple baseline's: by day, over {LEAST_DAYS} days"
        f" or more, a mean difference of {SURE} standard errors or more.",
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
    )


def _hits(k: int) -> Panel:
    return stat(
        f"Incidents inside the named {k} % of the area",
        f"Share of the incidents in the shown time that happened in the {k} % of the cells named beforehand, "
        "by each category for itself.",
        (12, 5),
        f"SELECT {_share(k)} FROM {OUTCOME} {CLOSED} {SOME}",
        "percentunit",
        decimals=1,
        without="no incident, or no data",
        overrides=_colours(AMBER),
        named=True,
    )


def _hits_by_day(k: int) -> Panel:
    return lines(
        f"By day: incidents inside the named {k} %",
        "The same share for each day of forecasts (UTC). Single days jump: look at the order of the lines.",
        (12, 8),
        f"SELECT {_share(k)} FROM {OUTCOME} {CLOSED} {SOME} GROUP BY time(1d) fill(null)",
        "percentunit",
        overrides=_colours(),
    )


def _blocks() -> Panel:
    query = (
        'SELECT sum("observed") AS "seen", sum("expected") AS "expected", sum("observed") / sum("expected") AS "ratio" '
        f'FROM {OUTCOME_AREA} {CLOSED} GROUP BY "district"'
    )
    low, high = CALIBRATION_BAND
    return table(
        "By district: seen over expected",
        "Districts are parts of the grid, 01 in the south-west. 1 is right on the whole. "
        f"Blue: {low:g} to {high:g}. Amber: the "
        "forecast leans here, and somebody should ask why; where few are expected it may be chance. Sums over the "
        "hours of the shown time, whose horizons overlap: larger than the number of incidents.",
        (12, 9),
        query,
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
    )


def _surges() -> Panel:
    query = (
        'SELECT count("raised") AS "hours", sum("observed") AS "came", sum("expected") AS "expected", '
        f'sum("unraised") AS "without", sum("usual") AS "usual" FROM {OUTCOME} {CLOSED} AND "raised" > 1 '
        'GROUP BY "category"'
    )
    return table(
        "When the last hour raised the forecast",
        "Hours that began in a surge: the last hour had brought far more than was expected. What came, what was "
        "expected, what would have been expected without that, and what is usual. Sums over the shown time.",
        (24, 4),
        query,
        [
            column("category", unit="string", displayName="Category"),
            column("hours", unit="none", decimals=0, displayName="Hours"),
            column("came", unit="none", decimals=0, displayName="Came"),
            column("expected", unit="none", decimals=0, displayName="Expected"),
            column("without", unit="none", decimals=0, displayName="Expected without it"),
            column("usual", unit="none", decimals=0, displayName="Usual"),
        ],
        without="no hour of the shown time began in a surge",
    )


def _chances() -> Panel:
    said, came = 'sum("said") / sum("cells")', 'sum("came") / sum("cells")'
    query = (
        f'SELECT sum("cells") AS "cells", {said} AS "said", {came} AS "came" FROM {OUTCOME_CHANCE} {CLOSED} '
        'GROUP BY "chance"'
    )
    return table(
        "When it said so, did it come?",
        "Cells by the chance of at least one incident that they were given. Where *said* is 30 %, an incident should "
        "have come in 30 of 100 such cells. A cell counts each hour anew; a line of few cells jumps.",
        (12, 9),
        query,
        [
            column("chance", unit="suffix: % and more", displayName="Chance given"),
            column("cells", unit="none", decimals=0, displayName="Cells"),
            column("said", unit="percentunit", decimals=1, displayName="Said, on average"),
            column("came", unit="percentunit", decimals=1, displayName="Came"),
        ],
    )


def _small(title: str, description: str, query: str, unit: str, **more: int) -> Panel:
    without = "nothing judged yet, or no data"
    return stat(title, description, (8, 4), query, unit, without=without, colour=GREY, background=False, **more)


def _marks() -> list[Panel]:
    """What people said. They mark cells of any category and horizon, so these choices do not apply."""
    here = "\"region\" = '$region' AND $timeFilter"

    def asked(more: str) -> list[str]:
        return [
            f'SELECT sum("marks") AS "{shown}" FROM "feedback" WHERE "mark" = \'{mark}\' AND {here}{more}'
            for mark, shown in MARKS.items()
        ]

    said = "Marks that shifts set on cells: useful, not useful, acted on. "
    by_day = lines(
        "What shifts said, by day",
        f"{said}By the day of the scores that are meant (UTC).",
        (16, 8),
        asked(" GROUP BY time(1d) fill(none)"),
        "suffix: marks",
        bars=True,
        overrides=[fixed(shown, colour) for shown, colour in zip(MARKS.values(), (BLUE, ORANGE, PURPLE), strict=True)],
        without=NO_MARK,
    )
    together = stat(
        "What shifts said",
        f"{said}They are what people think, not what happened: they are never counted as incidents, and no model "
        "learns from them. All categories and horizons; kept for a month.",
        (8, 8),
        asked(""),
        "none",
        decimals=0,
        colour=GREY,
        background=False,
        without=NO_MARK,
    )
    return [together, by_day]


def helps() -> Json:
    skill = '1 - mean("{0}") / mean("baseline_{0}")'
    panels = [
        text("What this is", WHAT_IT_IS, (14, 8)),
        text("What this is not", WHAT_IT_IS_NOT, (10, 8)),
        _posts(),
        _in_words(),
        _hits(5),
        _hits(10),
        _small(
            "Last evaluation",
            "When the newest forecast that was judged had its result: an hour after its horizon's end, or a day later.",
            f'SELECT last("closed_s") * 1000 AS "closed" FROM {OUTCOME} {CLOSED}',
            "dateTimeFromNow",
        ),
        _small(
            "Seen over expected",
            "All incidents over all that was foreseen; 1 is right on the whole.",
            f'SELECT sum("observed") / sum("expected") AS "ratio" FROM {OUTCOME} {CLOSED}',
            "none",
            decimals=2,
        ),
        _small(
            "Hours judged",
            "Share of the shown hours with a forecast that was judged. The newest ones have not closed yet; others are "
            "missing where the system did not run.",
            'SELECT max("hours") * 3600000 / (${__to} - ${__from}) AS "judged" FROM '
            f'(SELECT count("observed") AS "hours" FROM {OUTCOME} {CLOSED} GROUP BY "category")',
            "percentunit",
            decimals=0,
        ),
        _hits_by_day(5),
        _hits_by_day(10),
        lines(
            "Foreseen and seen",
            "Incidents within the horizon from each moment, all chosen categories: what was foreseen, what the usual "
            "rate was, what happened.",
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
            "How much smaller the error is than the baseline's: Brier score of the chances, log score of the counts. "
            "Above 0 the forecast is better, below 0 it is worse.",
            (12, 8),
            f'SELECT {skill.format("brier")} AS "Brier score", {skill.format("log_score")} AS "log score" '
            f"FROM {OUTCOME} {CLOSED} GROUP BY time(1d) fill(null)",
            "percentunit",
            minimum=None,
            overrides=[fixed("Brier score", BLUE), fixed("log score", PURPLE)],
        ),
        _blocks(),
        _chances(),
        _surges(),
        *_marks(),
    ]
    contact: Json = {
        "type": "constant",
        "name": "contact",
        "label": "Contact",
        "description": "Who answers questions about this page: set it in the dashboard's file",
        "hide": 2,
        "query": "the operator of this service",
        "current": {"text": "the operator of this service", "value": "the operator of this service"},
    }
    return page(
        UID,
        "Does it help?",
        "How often the forecast was right, beside a simple baseline and perfect foresight.",
        panels,
        [*choices_of_place(several_categories=True), choice_of_bucket(), contact],
        since="now-30d",
        refresh="5m",
    )

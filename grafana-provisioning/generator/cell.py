"""Cell: one square over time, reached from the map and its table."""

# ruff: noqa: S608 - these are queries for Grafana, made from constants

from generator.build import Panel, lines, page, stat, table, text, timeline
from generator.looks import BAND, BLUE, DASHED, ORANGE, PURPLE, RED, STALE, SUPPORT, Json, column, fixed, networks
from generator.store import LIFT, PLACE, WHOLE, choice, choice_of_bucket, choices_of_place, long, newest_frame

UID = "risk-cell"
FACTORS = {
    "here": "Here",
    "next_door": "Next door",
    "level": "Region",
    "memory": "Memory",
    "time": "Time",
    "network": "Network",
}
A_SIXTH, HALF = (4, 4), (12, 7)
HERE = f"{PLACE} AND \"cell\" = '$cell'"
# An outage is a gap.
OVER_TIME = f"FROM {long('risk')} WHERE {HERE} AND $timeFilter GROUP BY time($__interval) fill(null)"

IN_WORDS = """**Expected** is how many incidents the scores foresee here within the horizon; **usual** is
the long-run rate for this hour of the week. **Low** and **high** hold nine of ten outcomes. **Seen** is what was
reported in the last hour, whatever the horizon.

**What made the newest score**: usual, times the six factors beside it, is what is expected. A factor of 1 changes
nothing. *Here* and *next door*: recent counts. *Region*: its level. *Memory*: counts of months. *Time*: of day and
week. *Network*: the rest, all else at its mean. Only the ten cells with the highest risk of a category and horizon
carry factors. For any other, and for what made the usual itself (long memory, hour of the week), as of where the
model's data end:

```
python -m models explain --region ${region} --cell ${cell} --artifacts FOLDER
```

Support `ok`: enough history. `sparse`: little, borrowed from the neighbourhood. `no_history`: nothing was ever reported
here; the number stands for nothing."""


def _newest(field: str) -> str:
    return f'SELECT last("{field}") AS "{field}" FROM "risk" WHERE {HERE} AND {WHOLE}'


def _forecast(title: str, description: str, expression: str, name: str, unit: str) -> Panel:
    """What the newest scores foresee; of a cell without history the number stands for nothing."""
    newest = f'SELECT last("risk") AS "risk", "expected", "usual", "support" FROM "risk" WHERE {HERE} AND {WHOLE}'
    query = f'SELECT {expression} AS "{name}" FROM ({newest}) WHERE "support" != \'no_history\''
    description = f"{description} No number without history."
    return stat(title, description, A_SIXTH, query, unit, without="STALE or no history")


def _numbers() -> list[Panel]:
    incidents = "suffix: incidents"
    soon = "Of at least one incident within the horizon, from the newest minute."
    counted_here = "Incidents counted here in the last hour."
    history = "How much history stands behind the numbers."
    return [
        _forecast("Chance", soon, '"risk"', "risk", "percentunit"),
        _forecast("Expected", "Incidents foreseen within the horizon.", '"expected"', "expected", incidents),
        _forecast("Usual", "The long-run rate for this hour of the week.", '"usual"', "usual", incidents),
        _forecast("Lift", "Expected over usual: 1 is as always at this hour.", LIFT, "lift", "suffix: x usual"),
        stat("Seen, 1 hour", counted_here, A_SIXTH, _newest("observed_1h"), incidents, without=STALE),
        stat(
            "Support", history, A_SIXTH, _newest("support"), "string", text="support", without=STALE, mappings=[SUPPORT]
        ),
    ]


def _over_time() -> list[Panel]:
    band = {"custom__lineWidth": 0, "custom__showPoints": "never"}
    return [
        lines(
            "Expected, usual and what nine of ten outcomes lie between",
            "Incidents within the horizon. The band is the 90 % predictive interval; a band that reaches "
            "down to 0: there may well be none.",
            (24, 9),
            f'SELECT mean("low") AS "low", mean("high") AS "high", mean("expected") AS "expected", '
            f'mean("usual") AS "usual" {OVER_TIME}',
            "suffix: incidents",
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
            HALF,
            f'SELECT max("observed_1h") AS "seen" {OVER_TIME}',
            "suffix: incidents",
            overrides=[fixed("seen", RED, custom__lineInterpolation="stepAfter")],
        ),
        lines(
            "Lift over usual",
            "1 is as always at this hour of the week.",
            HALF,
            f'SELECT mean("expected") / mean("usual") AS "lift" {OVER_TIME}',
            "suffix: x usual",
            overrides=[fixed("lift", PURPLE)],
        ),
    ]


def _what_made_it() -> Panel:
    fields = ("usual", *(f"by_{name}" for name in FACTORS), "expected")
    chosen = ", ".join(f'"{name}"' for name in fields)
    return table(
        "What made the newest score",
        "Usual, times the factors, is what is expected. Empty where the cell is not among the ten with the highest "
        "risk of this category and horizon now, and where no score came within three minutes.",
        (24, 4),
        f'SELECT {chosen} FROM "top" WHERE {HERE} AND {WHOLE} AND time > 0${{frame:raw}}s - 1m AND "by_here" > 0',
        [
            column("usual", displayName="Usual", unit="none", decimals=3),
            *(column(f"by_{name}", displayName=words, unit="prefix:x ", decimals=2) for name, words in FACTORS.items()),
            column("expected", displayName="Expected", unit="none", decimals=3),
        ],
        without="Only the ten cells with the highest risk of a category, not of all, carry factors",
    )


def _who_made_it() -> Panel:
    return timeline(
        "Who made the scores, and on how much history",
        "The model version in force and the support of this cell. `baseline` means that the network did not answer. A "
        "gap: no scores.",
        (10, 11),
        f'SELECT last("model") AS "model", last("support") AS "support" {OVER_TIME}',
        [
            column("model", displayName="Model", mappings=networks()),
            column("support", displayName="Support", mappings=[SUPPORT]),
        ],
        without="no scores",
    )


def cell() -> Json:
    panels = [*_numbers(), *_over_time(), _what_made_it(), _who_made_it(), text("In words", IN_WORDS, (14, 11))]
    cells = 'SHOW TAG VALUES FROM "risk" WITH KEY = "cell" WHERE "region" = \'$region\''
    variables = [
        *choices_of_place(),
        choice_of_bucket(),
        newest_frame(),
        choice("cell", "Cell", cells, "Row and column of the square, from the south-west"),
    ]
    return page(UID, "Cell", "One cell over time: expected, interval, usual, seen.", panels, variables)

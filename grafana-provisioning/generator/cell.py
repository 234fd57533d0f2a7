"""Cell: one square over time, reached from the map and its table."""

# ruff: noqa: S608 - these are queries for Grafana, made from constants

from generator.panels import (
    AMBER,
    BLUE,
    GREY,
    LIFT,
    ORANGE,
    PLACE,
    PURPLE,
    RED,
    RISK,
    STALE_MAPPING,
    SUPPORT_MAPPING,
    WHOLE,
    WITHOUT_TIME,
    Json,
    Panel,
    bucket_variable,
    column,
    dashboard,
    fixed,
    frame_variable,
    lines,
    place_variables,
    says,
    stat,
    table,
    tag_variable,
    text,
    without_a_value,
)

UID = "risk-cell"
FACTORS = {
    "here": "Here",
    "next_door": "Next door",
    "level": "Region",
    "memory": "Memory",
    "time": "Time",
    "network": "Network",
}
NOTHING_KNOWN = "STALE or no history"
HERE = f"{PLACE} AND \"cell\" = '$cell'"
OVER_TIME = f"FROM {RISK} WHERE {HERE} AND $timeFilter GROUP BY time($__interval) fill(null)"  # an outage is a gap

IN_WORDS = """**Expected** is how many incidents the scores foresee here within the horizon; **usual** is
the long-run rate for this hour of the week. **Low** and **high** hold nine of ten outcomes. **Seen** is what was
reported in the last hour, whatever the horizon.

**What made the newest score**: usual, times the six factors beside it, is what is expected. A factor of 1 changes
nothing. *Here* and *next door*: recent counts. *Region*: its level. *Memory*: counts of months. *Time*: of day and
week. *Network*: the rest, all else at its mean. Only the ten cells with the highest risk of a category and horizon
carry factors. For any other, and for what made the usual itself (long memory, hour of the week), as of where the
model's data end or `--at` a later moment:

```
python -m models explain --region ${region} --cell ${cell} --artifacts FOLDER
```

Support `ok`: enough history. `sparse`: little, borrowed from the neighbourhood. `no_history`: nothing was ever reported
here; the number stands for nothing."""


def _now(title: str, description: str, query: str, unit: str, **more: str) -> Panel:
    """The newest value, STALE without one."""
    colour = {"mode": "fixed", "fixedColor": BLUE}
    defaults: Json = {"unit": unit, "noValue": "STALE", "mappings": [STALE_MAPPING], "color": colour}
    return stat(title, description, (4, 4), query, defaults, background=True, **more)


def _newest(field: str) -> str:
    return f'SELECT last("{field}") AS "{field}" FROM "risk" WHERE {HERE} AND {WHOLE}'


def _forecast(title: str, description: str, expression: str, name: str, unit: str) -> Panel:
    """What the newest scores foresee, STALE without any; of a cell without history the number stands for nothing."""
    newest = f'SELECT last("risk") AS "risk", "expected", "usual", "support" FROM "risk" WHERE {HERE} AND {WHOLE}'
    query = f'SELECT {expression} AS "{name}" FROM ({newest}) WHERE "support" != \'no_history\''
    panel = _now(title, f"{description} No number without history.", query, unit)
    panel.defaults.update(noValue=NOTHING_KNOWN, mappings=[without_a_value(NOTHING_KNOWN)])
    return panel


def _support() -> Panel:
    words = "How much history stands behind the numbers."
    panel = _now("Support", words, _newest("support"), "string", column="support")
    panel.defaults["mappings"] = [STALE_MAPPING, SUPPORT_MAPPING]
    return panel


def _what_made_it() -> Panel:
    fields = ("usual", *(f"by_{name}" for name in FACTORS), "expected")
    chosen = ", ".join(f'"{name}"' for name in fields)
    return table(
        "What made the newest score",
        "Usual, times the factors, is what is expected (in a region with outside series also times by_covariates of "
        "the store). Empty where the cell is not among the ten with the highest risk of this category and horizon now, "
        "and where no score came within three minutes.",
        (24, 4),
        f'SELECT {chosen} FROM "top" WHERE {HERE} AND {WHOLE} AND time > 0${{frame:raw}}s - 1m AND "by_here" > 0',
        [
            column("usual", displayName="Usual", unit="none", decimals=3),
            *(column(f"by_{name}", displayName=words, unit="prefix:x ", decimals=2) for name, words in FACTORS.items()),
            column("expected", displayName="Expected", unit="none", decimals=3),
        ],
        more={"transformations": [WITHOUT_TIME]},
        without="Only the ten cells with the highest risk of a category, not of all, carry factors",
    )


def cell() -> Json:
    band = {"custom__lineWidth": 0, "custom__showPoints": "never"}
    panels = [
        _forecast(
            "Chance",
            "Of at least one incident within the horizon, from the newest minute.",
            '"risk"',
            "risk",
            "percentunit",
        ),
        _forecast("Expected", "Incidents foreseen within the horizon.", '"expected"', "expected", "suffix: incidents"),
        _forecast("Usual", "The long-run rate for this hour of the week.", '"usual"', "usual", "suffix: incidents"),
        _forecast("Lift", "Expected over usual: 1 is as always at this hour.", LIFT, "lift", "suffix: x usual"),
        _now("Seen, 1 hour", "Incidents counted here in the last hour.", _newest("observed_1h"), "suffix: incidents"),
        _support(),
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
                fixed("high", BLUE, custom__fillBelowTo="low", custom__fillOpacity=15, **band),
                fixed("expected", BLUE),
                fixed("usual", ORANGE, custom__lineStyle={"fill": "dash", "dash": [8, 6]}),
            ],
        ),
        lines(
            "Seen in the last hour",
            "Incidents counted here in the hour before each moment.",
            (12, 7),
            f'SELECT max("observed_1h") AS "seen" {OVER_TIME}',
            "suffix: incidents",
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
        _what_made_it(),
        Panel(
            kind="state-timeline",
            title="Who made the scores, and on how much history",
            description="The model version in force and the support of this cell. `baseline` means that the network "
            "did not answer. A gap: no scores.",
            size=(10, 11),
            queries=[f'SELECT last("model") AS "model", last("support") AS "support" {OVER_TIME}'],
            form="time_series",
            options={
                "showValue": "auto",
                "rowHeight": 0.8,
                "mergeValues": True,
                "alignValue": "left",
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []},
                "tooltip": {"mode": "single", "sort": "none"},
            },
            defaults={"unit": "string", "color": {"mode": "fixed", "fixedColor": GREY}},
            overrides=[
                column(
                    "model",
                    displayName="Model",
                    mappings=[says("/^baseline.*$/", None, AMBER, 1), says("/^(?!baseline).*$/", None, BLUE, 2)],
                ),
                column("support", displayName="Support", mappings=[SUPPORT_MAPPING]),
            ],
        ),
        text("In words", IN_WORDS, (14, 11)),
    ]
    cells = 'SHOW TAG VALUES FROM "risk" WITH KEY = "cell" WHERE "region" = \'$region\''
    variables = [
        *place_variables(),
        bucket_variable(),
        frame_variable(),
        tag_variable("cell", "Cell", cells, "Row and column of the square, from the south-west"),
    ]
    return dashboard(UID, "Cell", "One cell over time: expected, interval, usual, seen.", panels, variables)

"""Parts of the page Model: the trial of a challenger beside the champion."""

# ruff: noqa: S608 - these are queries for Grafana, made from constants

from generator.build import Panel, lines, stat, table
from generator.looks import (
    AMBER,
    BAND,
    BLUE,
    DASHED,
    GREY,
    ORANGE,
    PURPLE,
    RUST,
    STALE,
    column,
    fixed,
    says,
)  # fmt: skip
from generator.store import FRESH, long
from streaming.flow.pipeline_point import NO_CHALLENGER

DRIFTED, GATE, PIPELINE, SHADOW = map(long, ("drift", "gate", "pipeline", "shadow"))
HERE = "\"region\" = '$region'"
TRIED = f"{HERE} AND \"challenger\" = '${{challenger:raw}}'"
SHOWN = f"{HERE} AND $timeFilter"
BY_DAY = "GROUP BY time(1d) fill(null)"  # no line from one trial to the next
HOURLY = "\"horizon\" = '1h'"  # the forecasts that decide: they do not overlap
NO_TRIAL = "No challenger was tried in the shown time"
NO_DECISION = "no trial, or in its first days"
MILLIONTHS = 1_000_000

DECISIONS = {
    "go on": ("GOES ON", BLUE),
    "promote": ("PROMOTE: a person is awaited", AMBER),
    "stop": ("STOP: a person is awaited", RUST),
    "undecided": ("UNDECIDED: a person is awaited", AMBER),
}

HOW_TO_READ = """Each day the gate compares the log scores of both: **below zero the challenger is better**. The band
holds the true mean difference on all days at once, so one may look daily; a usual interval misleads who looks often.

- Band below the **margin**, after 14 days with two weekends: promote. The margin is a fifth of the champion's skill:
of how much smaller its log score is than its baseline's.
- Band above **zero**, or not scored in a twentieth of its hours: stop.
- Neither after 60 days: the champion stays.

Judged are forecasts of one hour, a day later, when late reports have come. A day is the region's own day; the gate says
nothing before the third."""


def trial_now() -> list[Panel]:
    words = [says(f"/^{name}$/", said, colour, 3 + i) for i, (name, (said, colour)) in enumerate(DECISIONS.items())]
    return [
        stat(
            "Challenger",
            "The version that is tried beside it now. It is on no map.",
            (6, 4),
            f'SELECT last("challenger") AS "challenger" FROM "pipeline" WHERE {HERE} AND {FRESH}',
            "string",
            text="challenger",
            without=STALE,
            mappings=[says(f"/^{NO_CHALLENGER}$/", "no challenger", GREY, 3)],
        ),
        stat(
            "The gate says",
            "Of the trial that runs now, from all its days. It changes nothing by itself: a person ends the trial.",
            (5, 4),
            f'SELECT last("decision") AS "decision" FROM {GATE} WHERE {TRIED}',
            "string",
            text="decision",
            without=NO_DECISION,
            mappings=words,
        ),
        stat(
            "Days judged",
            "Whole local days of the trial that runs now. The gate needs 14 at least, and ends after 60.",
            (4, 4),
            f'SELECT last("days") AS "days" FROM {GATE} WHERE {TRIED}',
            "suffix: days",
            decimals=0,
            without=NO_DECISION,
        ),
    ]


def because() -> Panel:
    return table(
        "What the gate waits for",
        "What it said on each day of the trials in the shown time, newest first. Days are UTC. Failed h: hours so far "
        "in which the challenger could not be scored.",
        (15, 7),
        f'SELECT "days", "failed_hours", "decision", "because" FROM {GATE} WHERE {SHOWN} ORDER BY time DESC',
        [
            column("Time", unit="time:D MMM", displayName="Day", custom__width=75),
            column("days", unit="none", decimals=0, displayName="Judged", custom__width=75),
            column("failed_hours", unit="none", decimals=0, displayName="Failed h", custom__width=75),
            column("decision", unit="string", displayName="It says", custom__width=90),
            column(
                "because",
                unit="string",
                displayName="Because",
                custom__wrapText=True,
            ),
        ],
        without=NO_TRIAL,
        transformations=[],
    )


def sequence() -> Panel:
    names = ("low", "high", "difference", "margin")
    fields = ", ".join(f'{MILLIONTHS} * last("{name}") AS "{name}"' for name in names)
    band = {"custom__lineWidth": 1, "custom__showPoints": "never"}
    return lines(
        "Challenger minus champion: mean difference of the log scores, and its bounds",
        "Millionths of a nat per cell, category and hour. Below zero the challenger is better; above the margin it is "
        "worse than is allowed. The band is the confidence sequence of all days of the trial so far.",
        (15, 10),
        f'SELECT {fields}, 0 * last("days") AS "zero" FROM {GATE} WHERE {SHOWN} {BY_DAY}',
        "suffix: millionths of a nat",
        minimum=None,
        overrides=[
            fixed("low", BLUE, **band),
            fixed("high", BLUE, **BAND, **band),
            fixed("difference", PURPLE),
            fixed("margin", RUST, **DASHED),
            fixed("zero", GREY, custom__showPoints="never"),
        ],
        without=NO_TRIAL,
    )


def log_scores() -> Panel:
    names = ("champion", "challenger", "baseline")
    fields = ", ".join(f'mean("{name}_log_score") AS "{name}"' for name in names)
    return lines(
        "Log score by day, of the same hours",
        "Mean per cell and category of forecasts of one hour, by UTC day, while there was a challenger. Lower is "
        "better. A day with more incidents is higher for all three: look at the order of the lines.",
        (12, 8),
        f"SELECT {fields} FROM {SHADOW} WHERE {SHOWN} AND {HOURLY} {BY_DAY}",
        "suffix: nats, lower is better",
        minimum=None,
        overrides=[fixed("champion", BLUE), fixed("challenger", PURPLE), fixed("baseline", ORANGE)],
        without=NO_TRIAL,
    )

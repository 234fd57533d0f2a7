"""Model: which version scores, what is tried beside it and what the gate waits for, and what forecasts follow."""

from generator.build import (
    ALARM,
    AMBER,
    BAND,
    BLUE,
    DASHED,
    FRESH,
    GREY,
    HIDDEN,
    LIFT_SHADES,
    ORANGE,
    OUTCOME,
    PLAIN,
    PURPLE,
    REGION,
    RUST,
    STALE,
    TABLE_OPTIONS,
    Json,
    Size,
    asked,
    asking_panel,
    by_level,
    choice,
    choice_of_bucket,
    column,
    empty_text,
    filled_by_level,
    fixed,
    lines,
    long,
    map_of_cells,
    networks,
    page,
    says,
    stat,
    steps,
    table,
    text,
    timeline,
)
from lifecycle.triggers import OLDEST_DAYS, RESTART_DAYS
from models.follower import BEYOND
from schemas.limits import DRIFT_BAND
from streaming.flow.rows import NO_CHALLENGER

DRIFTED, FOLLOWING, GATE, PIPELINE, SHADOW = map(long, ("drift", "following", "gate", "pipeline", "shadow"))
CHAMPION = f"{REGION} AND \"model\" = '${{champion:raw}}'"
TRIED = f"{REGION} AND \"challenger\" = '${{challenger:raw}}'"
SHOWN = f"{REGION} AND $timeFilter"
LATELY = f'FROM "pipeline" WHERE {REGION} AND time > now() - 1d'
BY_DAY = "GROUP BY time(1d) fill(null)"  # no line from one trial to the next
HOURLY = "\"horizon\" = '1h'"  # the forecasts that decide: they do not overlap
BETTER = '1 - mean("{}log_score") / mean("baseline_log_score")'

NOT_JUDGED = "Drift is judged from the 14th day of a version on"
NO_TRIAL = "No challenger was tried in the shown time"
NO_DECISION = "no trial, or in its first days"
NOTHING = "nothing learned in the shown time"
NO_CHANGE = "no change"
DECISIONS = {
    "go on": ("GOES ON", BLUE),
    "promote": ("PROMOTE: a person is awaited", AMBER),
    "stop": ("STOP: a person is awaited", RUST),
    "undecided": ("UNDECIDED: a person is awaited", AMBER),
}
# Of factors, where 1 changes nothing: blue below and orange above, as a lift is on the map, and dark enough for white
# figures.
FACTOR_LEVELS = ((None, "#004B76"), (1 / 1.5, BLUE), (1 / 1.1, GREY), (1.1, AMBER), (1.5, RUST))

WHAT_TO_DO = """- **No challenger**: nothing. `risk watch` asks once a day, and makes one when it is
due: data older than 90 days, drift beyond chance, or no longer better than its
baseline.
- **Goes on**: wait. The list beside says what the trial lacks. `risk gate end` with `--abandon` ends it.
- **Promote**: read the challenger's `card.md`; then a person confirms by `risk gate end` with `--confirm`.
- **Stop, undecided**: `risk gate end` retires the challenger.
- **Worse after a promotion**: `risk rollback`.

The commands in full: `docs/how-to/retraining.md`."""

HOW_TO_READ = """Each day the gate compares the log scores of both: **below zero the challenger is better**. The band
holds the true mean difference on all days at once, so one may look daily; a usual interval misleads who looks often.

- Band below the **margin**, after 14 days with two weekends: promote. The margin is a fifth of the champion's skill:
of how much smaller its log score is than its baseline's.
- Band above **zero**, or not scored in a twentieth of its hours: stop.
- Neither after 60 days: the champion stays.

Judged are forecasts of one hour, a day later, when late reports have come. A day is the region's own day; the gate says
nothing before the third."""

WORDS = """Where a city changes, a network that was trained before stays wrong for months. So its forecast is multiplied
by three factors, learned hour by hour from counts that are final: the **level**, the **24 local hours**, the **cells**.
1 changes nothing, and mostly they lie near 1.

- **As usual** is how likely it is that the network alone is as good; the factors are drawn towards 1 by it.
- **Gained**: how much likelier the counts were with the factors than without, in nats an incident. Below 0 they cost.
- A move of the *recording*, another geocoder for instance, is followed like a change of the city. Ask when it began.

`RISK_FOLLOW=off` shows the network alone."""


def model() -> Json:
    regions = 'SHOW TAG VALUES FROM "top" WITH KEY = "region"'
    followed = f'SHOW TAG VALUES FROM "following" WITH KEY = "category" WHERE {REGION}'
    network = f'SELECT last("model") {LATELY} AND "model" =~ /^[0-9]/'
    challenger = f'SELECT last("challenger") {LATELY}'
    return page(
        "risk-model",
        "Model",
        "Which version scores, how old its data are, what it follows, what is tried, what the gate waits for.",
        [*_champion(), *_trial(), *_over_time(), *_following()],
        [
            choice("region", "Region", regions, "The area that one agency serves"),
            choice_of_bucket(),
            choice("followed", "Followed category", followed, "Of the hours and cells that the forecast follows"),
            asked("champion", "Version that scores", network, "Not while only the baseline scored, for up to a day"),
            asked("challenger", "Challenger", challenger, "The version tried now"),
        ],
        since="now-30d",
        refresh="5m",
    )


def _champion() -> list[Json]:
    return [
        stat(
            "Version that scores",
            "The artifact behind the newest scores; its name begins with when it was trained (UTC). BASELINE ONLY: its "
            "network cannot be used.",
            (6, 4),
            f'SELECT last("model") AS "model" FROM "pipeline" WHERE {REGION} AND "model" != \'\' AND {FRESH}',
            text="model",
            without=STALE,
            mappings=networks("BASELINE ONLY", colour=ALARM)[:1],
        ),
        stat(
            "Scores since",
            "Its first scores in the shown time. At the left end of that time: it began earlier, or older points are "
            "no longer kept.",
            (5, 4),
            f'SELECT first("as_of") * 1000 AS "since" FROM {PIPELINE} WHERE {CHAMPION} AND $timeFilter',
            "time:D MMM YYYY, HH:mm",
            without="not in the shown time",
        ),
        stat(
            "Its data end",
            "The end of the incidents that it was made from.",
            (4, 4),
            f'SELECT last("data_end_s") * 1000 AS "end" {LATELY}',
            "time:D MMM YYYY",
            without="no scores for a day",
        ),
        stat(
            "Age of its data",
            f"From their end to the end of the shown time. Amber from {OLDEST_DAYS} days on: a challenger is due.",
            (4, 4),
            f'SELECT (${{__to}} / 1000 - last("data_end_s")) / 86400 AS "age" {LATELY}',
            "suffix: days",
            decimals=0,
            levels=((None, BLUE), (OLDEST_DAYS, AMBER)),
            without="no scores for a day",
        ),
        stat(
            "Better than its baseline",
            "How much smaller its log score is than the baseline's, in the shown time, by forecasts of an hour. Amber: "
            "below 0 it is worse.",
            (5, 4),
            f'SELECT {BETTER.format("")} AS "skill" FROM {OUTCOME} WHERE {CHAMPION} AND {HOURLY} AND $timeFilter',
            "percentunit",
            decimals=1,
            levels=((None, AMBER), (0, BLUE)),
            without="nothing judged yet",
        ),
        stat(
            "Why it scores",
            "Who made it champion or took it back, and the reason given, by the audit log. Nothing: it was put there "
            "without the registry.",
            (24, 3),
            f'SELECT last("says") AS "says" FROM "decided" WHERE {REGION} AND time > now() - 30d',
            text="says",
            **PLAIN,
            without="no record says who chose it",
        ),
    ]


def _trial() -> list[Json]:
    """Of a challenger beside the champion."""
    names = ("low", "high", "difference", "margin")
    fields = ", ".join(f'1000000 * last("{name}") AS "{name}"' for name in names)
    band = {"custom__lineWidth": 1, "custom__showPoints": "never"}
    return [
        stat(
            "Challenger",
            "The version that is tried beside it now. It is on no map.",
            (6, 4),
            f'SELECT last("challenger") AS "challenger" FROM "pipeline" WHERE {REGION} AND {FRESH}',
            text="challenger",
            without=STALE,
            mappings=[says(f"/^{NO_CHALLENGER}$/", "no challenger", GREY, 3)],
        ),
        stat(
            "The gate says",
            "Of the trial that runs now, from all its days. It changes nothing by itself: a person ends the trial.",
            (5, 4),
            f'SELECT last("decision") AS "decision" FROM {GATE} WHERE {TRIED}',
            text="decision",
            without=NO_DECISION,
            mappings=[
                says(f"/^{name}$/", said, colour, index)
                for index, (name, (said, colour)) in enumerate(DECISIONS.items(), start=3)
            ],
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
        text("What to do next", WHAT_TO_DO, (9, 11)),
        table(
            "What the gate waits for",
            "What it said on each day of the trials in the shown time, newest first. Days are UTC. Failed h: hours so "
            "far in which the challenger could not be scored.",
            (15, 7),
            f'SELECT "days", "failed_hours", "decision", "because" FROM {GATE} WHERE {SHOWN} ORDER BY time DESC',
            [
                column("Time", unit="time:D MMM", displayName="Day", custom__width=75),
                column("days", unit="none", decimals=0, displayName="Judged", custom__width=75),
                column("failed_hours", unit="none", decimals=0, displayName="Failed h", custom__width=75),
                column("decision", unit="string", displayName="It says", custom__width=90),
                column("because", unit="string", displayName="Because", custom__wrapText=True),
            ],
            without=NO_TRIAL,
            transformations=[],
        ),
        lines(
            "Challenger minus champion: mean difference of the log scores, and its bounds",
            "Millionths of a nat per cell, category and hour. Below zero the challenger is better; above the margin it "
            "is worse than is allowed. The band is the confidence sequence of all days of the trial so far.",
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
        ),
        text("How to read it", HOW_TO_READ, (9, 10)),
    ]


def _over_time() -> list[Json]:
    low, high = DRIFT_BAND
    scores = ", ".join(f'mean("{name}_log_score") AS "{name}"' for name in ("champion", "challenger", "baseline"))
    of_champion, of_challenger = BETTER.format(""), BETTER.format("challenger_")
    sure = {"custom__showPoints": "never"}
    tried = [says(f"/^{NO_CHALLENGER}$/", None, GREY, 1), says(f"/^(?!{NO_CHALLENGER}$).*$/", None, BLUE, 2)]
    return [
        lines(
            "Log score by day, of the same hours",
            "Mean per cell and category of forecasts of one hour, by UTC day, while there was a challenger. Lower is "
            "better. A day with more incidents is higher for all three: look at the order of the lines.",
            (12, 8),
            f"SELECT {scores} FROM {SHADOW} WHERE {SHOWN} AND {HOURLY} {BY_DAY}",
            "suffix: nats, lower is better",
            minimum=None,
            overrides=[fixed("champion", BLUE), fixed("challenger", PURPLE), fixed("baseline", ORANGE)],
            without=NO_TRIAL,
        ),
        lines(
            "Better than the baseline, by day",
            "How much smaller the log score is than the baseline's, by UTC day. Above 0 it is better. The champion of "
            "each day, and its challenger. With 'Data kept for: a year' it shows whether promotions have added up.",
            (12, 8),
            [
                f'SELECT {of_champion} AS "champion" FROM {OUTCOME} WHERE {SHOWN} AND {HOURLY} {BY_DAY}',
                f'SELECT {of_challenger} AS "challenger" FROM {SHADOW} WHERE {SHOWN} AND {HOURLY} {BY_DAY}',
            ],
            "percentunit",
            minimum=None,
            overrides=[fixed("champion", BLUE), fixed("challenger", PURPLE)],
        ),
        lines(
            "Seen over expected, of the version that scores",
            "Of the network alone, without what it follows; all categories; 1 is right on the whole. Of all its days "
            f"so far, or only of the newest where they say more: another sequence begins every {RESTART_DAYS} days, so "
            f"the lines may jump. The band is the confidence sequence. Lines at {low:.2g} and {high:g}: a challenger "
            "is due when the whole band lies beyond one of them.",
            (14, 8),
            f'SELECT last("low") AS "low", last("high") AS "high", last("ratio") AS "seen / expected" FROM {DRIFTED} '
            f"WHERE {SHOWN} AND \"category\" = 'all' {BY_DAY}",
            "none",
            minimum=None,
            thresholds=steps((None, GREY), (low, GREY), (high, GREY)),
            drawing={"thresholdsStyle": {"mode": "dashed"}, "axisSoftMin": low - 0.05, "axisSoftMax": high + 0.05},
            overrides=[
                fixed("low", BLUE, **sure),
                fixed("high", BLUE, **BAND, **sure),
                fixed("seen / expected", PURPLE),
            ],
            without=NOT_JUDGED,
        ),
        table(
            "Seen over expected, by category",
            "Of the network alone, of all days of the version that scores, or only the newest; each row by itself. "
            f"Blue: {low:.2g} to {high:g}. Amber is beyond chance only if both bounds lie outside, too.",
            (10, 8),
            f'SELECT last("ratio") AS "ratio", "low", "high" FROM {DRIFTED} '
            f'WHERE {REGION} AND "champion" = \'${{champion:raw}}\' AND $timeFilter GROUP BY "category"',
            [
                column("category", unit="string", displayName="Category"),
                column(
                    "ratio",
                    unit="none",
                    decimals=2,
                    displayName="Seen / expected",
                    **filled_by_level((None, AMBER), (low, BLUE), (high, AMBER)),
                ),
                column("low", unit="none", decimals=2, displayName="Low"),
                column("high", unit="none", decimals=2, displayName="High"),
            ],
            without=NOT_JUDGED,
        ),
        timeline(
            "Which version scored, and which was tried",
            "Amber: the baseline alone. Grey: no challenger. A gap: no scores.",
            (24, 5),
            f'SELECT last("model") AS "model", last("challenger") AS "challenger" FROM {PIPELINE} '
            f"WHERE {SHOWN} GROUP BY time($__interval) fill(null)",
            [
                column("model", displayName="Scored", mappings=networks()),
                column("challenger", displayName="Tried", mappings=tried),
            ],
            without="no scores",
        ),
    ]


def follows_a_change(size: Size) -> Json:
    """The live map has it, too."""
    return stat(
        "Follows a change",
        f"Local hours, and cells, whose factor has been beyond {BEYOND:g} or below {1 / BEYOND:g} for three days.",
        size,
        f'SELECT last("as_of") AS "as_of", "change" FROM "pipeline" WHERE {REGION} AND "model" != \'\' AND {FRESH}',
        text="change",
        without=NO_CHANGE,
        noValue=STALE,
        **PLAIN,
        mappings=[empty_text(NO_CHANGE)],
    )


def _following() -> list[Json]:
    """What the last weeks showed."""
    newest = f'"following_cell" WHERE {REGION} AND "category" = \'$followed\' AND time > now() - 25h'
    matrix = {"rowField": "hour", "columnField": "category", "valueField": "factor", "emptyValue": "null"}
    filled = {"cellOptions": {"type": "color-background", "mode": "basic"}, "align": "center", "minWidth": 50}
    plain: Json = {"without": NOTHING, **PLAIN}
    return [
        follows_a_change((12, 4)),
        stat(
            "Gained by following",
            "Thousandths of a nat an incident, over the shown time, by forecasts of an hour of all categories.",
            (6, 4),
            f'SELECT 1000 * sum("gained") / sum("incidents") AS "gained" FROM {FOLLOWING} WHERE {SHOWN}',
            "suffix: thousandths of a nat",
            decimals=1,
            **plain,
        ),
        stat(
            "As usual",
            "The chance that the network alone is as good, of the category where it is lowest.",
            (6, 4),
            f'SELECT min("chance") AS "chance" FROM (SELECT last("as_usual") AS "chance" FROM {FOLLOWING} '
            f'WHERE {REGION} AND time > now() - 3d GROUP BY "category")',
            "percentunit",
            decimals=0,
            **plain,
        ),
        lines(
            "Level that is followed",
            "By category, as shown for the next hour. 1 changes nothing.",
            (12, 9),
            f'SELECT last("level") AS "level" FROM {FOLLOWING} WHERE {SHOWN} GROUP BY time(1h), "category" fill(null)',
            "none",
            minimum=None,
            alias="$tag_category",
            thresholds=steps((None, GREY), (1, GREY)),
            drawing={"thresholdsStyle": {"mode": "dashed"}, "axisSoftMin": 1 / BEYOND, "axisSoftMax": BEYOND},
            without=NOTHING,
        ),
        text("What is followed", WORDS, (12, 9)),
        asking_panel(
            "table",
            "Hours of the day that are followed",
            "The newest factor of each local hour and category, level included. 1 changes nothing.",
            (8, 26),
            'SELECT last("factor") AS "factor" FROM "following_hour" '
            f'WHERE {REGION} AND time > now() - 3d GROUP BY "category", "hour"',
            options=TABLE_OPTIONS,
            defaults={"unit": "none", "decimals": 2, "noValue": NOTHING, "custom": filled, **by_level(*FACTOR_LEVELS)},
            overrides=[
                column("hour\\category", displayName="Hour", unit="string", custom__cellOptions={"type": "auto"})
            ],
            transformations=[
                {"id": "sortBy", "options": {"fields": {}, "sort": [{"field": "hour"}]}},
                {"id": "groupingToMatrix", "options": matrix},
            ],
        ),
        map_of_cells(
            "Cells that are followed",
            "Where more (orange) or less (blue) came than the network alone would expect, level and hours aside, in "
            "the steps of a lift on the live map. Renewed each midnight, UTC; grey: within 1.2.",
            (16, 26),
            [
                f'SELECT last("factor") AS "factor" FROM {newest} GROUP BY "cell", "geohash"',
                'SELECT last("model") AS "geohash", "model" AS "cell", "level" AS "factor" FROM "following" '
                f"WHERE {REGION}",
            ],
            "factor",
            shades=LIFT_SHADES,
            columns=[
                column("Time", custom__hideFrom=HIDDEN),
                column("factor", displayName="Factor", unit="none", decimals=2, thresholds=LIFT_SHADES),
                column("cell", displayName="Cell", unit="string"),
                column("geohash", unit="string", custom__hideFrom=HIDDEN),
            ],
            noValue=NOTHING,
        ),
    ]

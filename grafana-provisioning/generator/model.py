"""Model: which version scores, what is tried beside it, and what the gate waits for."""

# ruff: noqa: S608 - these are queries for Grafana, made from constants

from generator.panels import (
    ALARM,
    AMBER,
    BLUE,
    FRESH,
    GREY,
    OUTCOME,
    PURPLE,
    STALE_MAPPING,
    WITHOUT_TIME,
    Json,
    Panel,
    asked_variable,
    bucket_variable,
    column,
    dashboard,
    fixed,
    lines,
    says,
    steps,
    table,
    tag_variable,
    text,
)
from generator.trial import (
    BY_DAY,
    DRIFTED,
    HERE,
    HOURLY,
    HOW_TO_READ,
    PIPELINE,
    SHADOW,
    SHOWN,
    because,
    log_scores,
    now,
    said_when_empty,
    sequence,
    trial_now,
    word,
)
from models.gate.triggers import OLDEST_DAYS, RESTART_DAYS
from schemas.limits import DRIFT_BAND
from streaming.flow.pipeline_point import NO_CHALLENGER

UID = "risk-model"
CHAMPION = f"{HERE} AND \"model\" = '${{champion:raw}}'"
LATELY = "time > now() - 1d"
NOT_JUDGED = "Drift is judged from the 14th day of a version on"
WHAT_TO_DO = """- **No challenger**: nothing. `models retrain`, once a day, makes one when it is
due: data older than 90 days, drift beyond chance, or no longer better than its
baseline.
- **Goes on**: wait. The list beside says what the trial lacks. `models gate end` with `--abandon` ends it.
- **Promote**: read the challenger's `card.md`; then a person confirms by `models gate end` with `--confirm`.
- **Stop, undecided**: `models gate end` retires the challenger.
- **Worse after a promotion**: `models registry rollback`.

The commands in full: `docs/how-to/retraining.md`."""


def _version() -> Panel:
    version = now(
        "Version that scores",
        "The artifact behind the newest scores; its name begins with when it was trained (UTC). BASELINE ONLY: its "
        "network cannot be used.",
        (6, 4),
        f'SELECT last("model") AS "model" FROM "pipeline" WHERE {HERE} AND "model" != \'\' AND {FRESH}',
        {"noValue": "STALE"},
    )
    word(version, "model", says("/^baseline.*$/", "BASELINE ONLY", ALARM, 3))
    version.defaults["mappings"][0] = STALE_MAPPING
    return version


def _champion() -> list[Panel]:
    return [
        _version(),
        now(
            "Scores since",
            "Its first scores in the shown time. At the left end of that time: it began earlier, or older points are "
            "no longer kept.",
            (5, 4),
            f'SELECT first("as_of") * 1000 AS "since" FROM {PIPELINE} WHERE {CHAMPION} AND $timeFilter',
            {"unit": "time:D MMM YYYY, HH:mm", "noValue": "not in the shown time"},
        ),
        *_age(),
        now(
            "Better than its baseline",
            "How much smaller its log score is than the baseline's, in the shown time, by forecasts of an hour. Amber: "
            "below 0 it is worse.",
            (5, 4),
            f'SELECT 1 - mean("log_score") / mean("baseline_log_score") AS "skill" FROM {OUTCOME} '
            f"WHERE {CHAMPION} AND {HOURLY} AND $timeFilter",
            {
                "unit": "percentunit",
                "decimals": 1,
                "thresholds": steps((None, AMBER), (0, BLUE)),
                "color": {"mode": "thresholds"},
                "noValue": "nothing judged yet",
            },
        ),
    ]


def _age() -> list[Panel]:
    none = {"noValue": "no scores for a day"}
    return [
        now(
            "Its data end",
            "The end of the incidents that it was made from.",
            (4, 4),
            f'SELECT last("data_end_s") * 1000 AS "end" FROM "pipeline" WHERE {HERE} AND {LATELY}',
            {"unit": "time:D MMM YYYY", **none},
        ),
        now(
            "Age of its data",
            f"From their end to the end of the shown time. Amber from {OLDEST_DAYS} days on: a challenger is due.",
            (4, 4),
            f'SELECT (${{__to}} / 1000 - last("data_end_s")) / 86400 AS "age" FROM "pipeline" WHERE {HERE} '
            f"AND {LATELY}",
            {
                "unit": "suffix: days",
                "decimals": 0,
                "thresholds": steps((None, BLUE), (OLDEST_DAYS, AMBER)),
                "color": {"mode": "thresholds"},
                **none,
            },
        ),
    ]


def _skill() -> Panel:
    return lines(
        "Better than the baseline, by day",
        "How much smaller the log score is than the baseline's, by UTC day. Above 0 it is better. The champion of each "
        "day, and its challenger. With 'Data kept for: a year' it shows whether promotions have added up.",
        (12, 8),
        [
            f'SELECT 1 - mean("log_score") / mean("baseline_log_score") AS "champion" FROM {OUTCOME} '
            f"WHERE {SHOWN} AND {HOURLY} {BY_DAY}",
            f'SELECT 1 - mean("challenger_log_score") / mean("baseline_log_score") AS "challenger" FROM {SHADOW} '
            f"WHERE {SHOWN} AND {HOURLY} {BY_DAY}",
        ],
        "percentunit",
        minimum=None,
        overrides=[fixed("champion", BLUE), fixed("challenger", PURPLE)],
    )


def _drift() -> Panel:
    limits = steps((None, GREY), *((end, GREY) for end in DRIFT_BAND))
    over_time = lines(
        "Seen over expected, of the version that scores",
        "All categories; 1 is right on the whole. Of all its days so far, or only of the newest where they say more: "
        f"another sequence begins every {RESTART_DAYS} days, so the lines may jump. The band is the confidence "
        f"sequence. Lines at {DRIFT_BAND[0]:.2g} and {DRIFT_BAND[1]:g}: a challenger is due when the whole band lies "
        "beyond one of them.",
        (14, 8),
        f'SELECT last("low") AS "low", last("high") AS "high", last("ratio") AS "seen / expected" FROM {DRIFTED} '
        f"WHERE {SHOWN} AND \"category\" = 'all' {BY_DAY}",
        "none",
        minimum=None,
        overrides=[
            fixed("low", BLUE, custom__showPoints="never"),
            fixed("high", BLUE, custom__fillBelowTo="low", custom__fillOpacity=15, custom__showPoints="never"),
            fixed("seen / expected", PURPLE),
        ],
    )
    over_time.defaults["thresholds"] = limits
    over_time.defaults["custom"] |= {
        "thresholdsStyle": {"mode": "dashed"},
        "axisSoftMin": DRIFT_BAND[0] - 0.05,
        "axisSoftMax": DRIFT_BAND[1] + 0.05,
    }
    return said_when_empty(over_time, NOT_JUDGED)


def _drift_by_category() -> Panel:
    colours = steps((None, AMBER), (DRIFT_BAND[0], BLUE), (DRIFT_BAND[1], AMBER))
    return table(
        "Seen over expected, by category",
        "Of all days of the version that scores, or only the newest; each row by itself. "
        f"Blue: {DRIFT_BAND[0]:.2g} to {DRIFT_BAND[1]:g}. "
        "Amber is beyond chance only if both bounds lie outside, too.",
        (10, 8),
        f'SELECT last("ratio") AS "ratio", "low", "high" FROM {DRIFTED} '
        f'WHERE {HERE} AND "champion" = \'${{champion:raw}}\' AND $timeFilter GROUP BY "category"',
        [
            column("category", unit="string", displayName="Category"),
            column(
                "ratio",
                unit="none",
                decimals=2,
                displayName="Seen / expected",
                thresholds=colours,
                color={"mode": "thresholds"},
                custom__cellOptions={"type": "color-background", "mode": "basic"},
            ),
            column("low", unit="none", decimals=2, displayName="Low"),
            column("high", unit="none", decimals=2, displayName="High"),
        ],
        more={"transformations": [WITHOUT_TIME]},
        without=NOT_JUDGED,
    )


def _versions() -> Panel:
    return Panel(
        kind="state-timeline",
        title="Which version scored, and which was tried",
        description="Amber: the baseline alone. Grey: no challenger. A gap: no scores.",
        size=(24, 5),
        queries=[
            f'SELECT last("model") AS "model", last("challenger") AS "challenger" FROM {PIPELINE} '
            f"WHERE {SHOWN} GROUP BY time($__interval) fill(null)"
        ],
        form="time_series",
        options={
            "showValue": "auto",
            "rowHeight": 0.8,
            "mergeValues": True,
            "alignValue": "left",
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False, "calcs": []},
            "tooltip": {"mode": "single", "sort": "none"},
        },
        defaults={"unit": "string", "color": {"mode": "fixed", "fixedColor": GREY}, "noValue": "no scores"},
        overrides=[
            column(
                "model",
                displayName="Scored",
                mappings=[says("/^baseline.*$/", None, AMBER, 1), says("/^(?!baseline).*$/", None, BLUE, 2)],
            ),
            column(
                "challenger",
                displayName="Tried",
                mappings=[
                    says(f"/^{NO_CHALLENGER}$/", None, GREY, 1),
                    says(f"/^(?!{NO_CHALLENGER}$).*$/", None, BLUE, 2),
                ],
            ),
        ],
    )


def _variables() -> list[Json]:
    newest = f'FROM "pipeline" WHERE {HERE} AND {LATELY}'
    return [
        tag_variable(
            "region",
            "Region",
            'SHOW TAG VALUES FROM "top" WITH KEY = "region"',
            "The area that one agency serves",
        ),
        bucket_variable(),
        asked_variable(
            "champion",
            "Version that scores",
            f'SELECT last("model") {newest} AND "model" =~ /^[0-9]/',
            "Not while only the baseline scored, for up to a day",
        ),
        asked_variable("challenger", "Challenger", f'SELECT last("challenger") {newest}', "The version tried now"),
    ]


def model() -> Json:
    panels = [
        *_champion(),
        *trial_now(),
        text("What to do next", WHAT_TO_DO, (9, 11)),
        because(),
        sequence(),
        text("How to read it", HOW_TO_READ, (9, 10)),
        log_scores(),
        _skill(),
        _drift(),
        _drift_by_category(),
        _versions(),
    ]
    return dashboard(
        UID,
        "Model",
        "Which version scores, how old its data are, what is tried beside it, and what the gate waits for.",
        panels,
        _variables(),
        time={"from": "now-30d", "to": "now"},
        refresh="5m",
    )

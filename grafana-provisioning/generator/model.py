"""Model: which version scores, what is tried beside it, and what the gate waits for."""

# ruff: noqa: S608 - these are queries for Grafana, made from constants

from generator.build import Panel, lines, page, stat, table, text, timeline
from generator.following import category, following
from generator.looks import (
    ALARM,
    AMBER,
    BAND,
    BLUE,
    GREY,
    PURPLE,
    STALE,
    Json,
    column,
    filled_by_level,
    fixed,
    networks,
    says,
    steps,
)  # fmt: skip
from generator.store import FRESH, OUTCOME, asked, choice, choice_of_bucket
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
    sequence,
    trial_now,
)  # fmt: skip
from lifecycle.triggers import OLDEST_DAYS, RESTART_DAYS
from schemas.limits import DRIFT_BAND
from streaming.flow.pipeline_point import NO_CHALLENGER

UID = "risk-model"
CHAMPION = f"{HERE} AND \"model\" = '${{champion:raw}}'"
LATELY = "time > now() - 1d"
NOT_JUDGED = "Drift is judged from the 14th day of a version on"
WHAT_TO_DO = """- **No challenger**: nothing. `lifecycle watch` asks once a day, and makes one when it is
due: data older than 90 days, drift beyond chance, or no longer better than its
baseline.
- **Goes on**: wait. The list beside says what the trial lacks. `lifecycle gate end` with `--abandon` ends it.
- **Promote**: read the challenger's `card.md`; then a person confirms by `lifecycle gate end` with `--confirm`.
- **Stop, undecided**: `lifecycle gate end` retires the challenger.
- **Worse after a promotion**: `lifecycle rollback`.

The commands in full: `docs/how-to/retraining.md`."""


def _champion() -> list[Panel]:
    newest = f'FROM "pipeline" WHERE {HERE} AND {LATELY}'
    return [
        stat(
            "Version that scores",
            "The artifact behind the newest scores; its name begins with when it was trained (UTC). BASELINE ONLY: its "
            "network cannot be used.",
            (6, 4),
            f'SELECT last("model") AS "model" FROM "pipeline" WHERE {HERE} AND "model" != \'\' AND {FRESH}',
            "string",
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
            f'SELECT last("data_end_s") * 1000 AS "end" {newest}',
            "time:D MMM YYYY",
            without="no scores for a day",
        ),
        stat(
            "Age of its data",
            f"From their end to the end of the shown time. Amber from {OLDEST_DAYS} days on: a challenger is due.",
            (4, 4),
            f'SELECT (${{__to}} / 1000 - last("data_end_s")) / 86400 AS "age" {newest}',
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
            f'SELECT 1 - mean("log_score") / mean("baseline_log_score") AS "skill" FROM {OUTCOME} '
            f"WHERE {CHAMPION} AND {HOURLY} AND $timeFilter",
            "percentunit",
            decimals=1,
            levels=((None, AMBER), (0, BLUE)),
            without="nothing judged yet",
        ),
    ]


def _why() -> Panel:
    return stat(
        "Why it scores",
        "Who made it champion or took it back, and the reason given, by the audit log. Nothing: it was put there "
        "without the registry.",
        (24, 3),
        f'SELECT last("says") AS "says" FROM "decided" WHERE {HERE} AND time > now() - 30d',
        "string",
        text="says",
        colour=GREY,
        background=False,
        without="no record says who chose it",
    )


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
    low, high = DRIFT_BAND
    sure = {"custom__showPoints": "never"}
    return lines(
        "Seen over expected, of the version that scores",
        "Of the network alone, without what it follows; all categories; 1 is right on the whole. Of all its days so "
        f"far, or only of the newest where they say more: another sequence begins every {RESTART_DAYS} days, so the "
        "lines may jump. The band is the confidence "
        f"sequence. Lines at {low:.2g} and {high:g}: a challenger is due when the whole band lies beyond one of them.",
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
    )


def _drift_by_category() -> Panel:
    low, high = DRIFT_BAND
    return table(
        "Seen over expected, by category",
        "Of the network alone, of all days of the version that scores, or only the newest; each row by itself. "
        f"Blue: {low:.2g} to {high:g}. Amber is beyond chance only if both bounds lie outside, too.",
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
                **filled_by_level((None, AMBER), (low, BLUE), (high, AMBER)),
            ),
            column("low", unit="none", decimals=2, displayName="Low"),
            column("high", unit="none", decimals=2, displayName="High"),
        ],
        without=NOT_JUDGED,
    )


def _versions() -> Panel:
    tried = [says(f"/^{NO_CHALLENGER}$/", None, GREY, 1), says(f"/^(?!{NO_CHALLENGER}$).*$/", None, BLUE, 2)]
    return timeline(
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
    )


def _variables() -> list[Json]:
    newest = f'FROM "pipeline" WHERE {HERE} AND {LATELY}'
    regions = 'SHOW TAG VALUES FROM "top" WITH KEY = "region"'
    network = f'SELECT last("model") {newest} AND "model" =~ /^[0-9]/'
    return [
        choice("region", "Region", regions, "The area that one agency serves"),
        choice_of_bucket(),
        category(),
        asked("champion", "Version that scores", network, "Not while only the baseline scored, for up to a day"),
        asked("challenger", "Challenger", f'SELECT last("challenger") {newest}', "The version tried now"),
    ]


def model() -> Json:
    panels = [
        *_champion(),
        _why(),
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
        *following(),
    ]
    return page(
        UID,
        "Model",
        "Which version scores, how old its data are, what it follows, what is tried, what the gate waits for.",
        panels,
        _variables(),
        since="now-30d",
        refresh="5m",
    )

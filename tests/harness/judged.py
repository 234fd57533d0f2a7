"""A trial, and hours and days as the judge leaves them: alike for both versions, where a test changes nothing."""

from lifecycle.gate import GatePlan, Trial
from lifecycle.shadow import ShadowDay, ShadowHour

CHAMPION, CHALLENGER = "20260101T000000Z-aaaaaaaa", "20260102T000000Z-bbbbbbbb"
SUMS = {
    "values": 1000,
    "champion": 100.0,
    "challenger": 100.0,
    "baseline": 101.0,
    "observed": {"ems": 30, "fire": 30},
    "champion_expected": {"ems": 30.0, "fire": 30.0},
    "challenger_expected": {"ems": 30.0, "fire": 30.0},
}


def judged_hour(tick_s, **changes):
    versions = {"champion_version": CHAMPION, "challenger_version": CHALLENGER}
    return ShadowHour(tick_s=tick_s, **{"horizon": "1h", **versions, **SUMS, **changes})


def judged_day(number=0, **changes):
    """The day with that number of a month that begins on a Monday; after 28 days the next month begins."""
    date = f"2026-{3 + number // 28:02d}-{1 + number % 28:02d}"
    sums = {**SUMS, **changes}
    alone = {"alone": sums["champion"], "alone_expected": sums["champion_expected"]}
    return ShadowDay(**{"day": date, "weekday": number % 7 + 1, "hours": 24, **alone, **sums})


def toy_trial(**changes):
    fields = {"champion": CHAMPION, "challenger": CHALLENGER, "plan": GatePlan(), "plan_sha256": "0" * 64}
    return Trial(**{**fields, "margin": 0.1, "started_s": 1_800_000_000, **changes})

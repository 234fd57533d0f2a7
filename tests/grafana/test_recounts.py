"""Figures of the pages against a recount of the stored points in Python."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
import scipy.stats

from tests.harness.grafana_world import SPECS, VARIABLES, ledger
from tests.harness.influxql import filled_in, table
from tests.harness.pages import PAGES, said

DAY_S = 86_400
BOTH = {"seen": "observed", "expected": "expected"}  # shown: stored


def panel_of(page, title):
    return next(panel for panel in PAGES[page]["panels"] if panel["title"] == title)


def answer(store, page, title, now_s, days, **changes):
    query = panel_of(page, title)["targets"][0]["query"]
    variables = VARIABLES | {"categories": "(fire|ems)"} | changes
    return store.series(filled_in(query, from_s=now_s - days * DAY_S, to_s=now_s, variables=variables, interval="60s"))


def points(store, measurement, now_s, days, **tags):
    """Stored points of the shown time, oldest first."""
    where = " AND ".join(f"\"{name}\" = '{value}'" for name, value in tags.items())
    query = f'SELECT * FROM "{measurement}" WHERE {where} AND $timeFilter'  # noqa: S608 - made from constants
    return table(store.series(filled_in(query, from_s=now_s - days * DAY_S, to_s=now_s)))


def moment(point):
    return datetime.fromtimestamp(point["Time"] / 1000, UTC)


@pytest.mark.parametrize("k", [5, 10])
def test_hit_rates_are_hits_over_incidents(filled, now_s, k):
    (row,) = table(answer(filled, "does-it-help", f"Incidents inside the named {k} % of the area", now_s, 30))
    wanted = {"this forecast": "hits", "simple baseline": "baseline_hits", "perfect foresight": "ideal_hits"}
    stored = points(filled, "outcome", now_s, 30, region="northville", horizon="4h")
    assert len({round(row[name], 6) for name in wanted}) == 3, "the stored points cannot tell them apart"
    for name, kind in wanted.items():
        hits = sum(point[f"{kind}_{k}"] for point in stored)
        assert row[name] == pytest.approx(hits / sum(point["observed"] for point in stored))


def test_whether_it_helps_is_judged_by_the_mean_difference_of_days(filled, now_s):
    days = {}
    for point in points(filled, "outcome", now_s, 30, region="northville", horizon="4h"):
        if point["observed"]:
            days.setdefault(moment(point).date(), []).append(point)
    more = [
        sum(point["hits_5"] - point["baseline_hits_5"] for point in day) / sum(point["observed"] for point in day)
        for day in days.values()
    ]
    (row,) = table(answer(filled, "does-it-help", "In words", now_s, 30))
    assert row["sure"] == pytest.approx(scipy.stats.ttest_1samp(more, 0).statistic)
    assert said(panel_of("does-it-help", "In words"), row["sure"])[0].startswith("It helps")


@pytest.mark.parametrize(
    ("days", "more", "words"),
    [
        (6, 2, "fewer than 7 days judged"),
        (8, 2, "It helps"),
        (8, -2, "Worse than the simple rule"),
        (8, 0.5, "No measurable help over the simple rule"),
        (8, -0.5, "No measurable help over the simple rule"),
    ],
)
def test_whether_it_helps_is_said_in_words(store, now_s, days, more, words):
    """more: hits beyond the baseline's, of ten incidents a day; a day's own chance moves it by one up and down."""
    midnight = now_s // DAY_S * DAY_S
    tags = "region=northville,horizon=4h,category=ems"
    store.write(
        "".join(
            f"outcome,{tags} observed=10,hits_5={4 + more + (-1) ** day},baseline_hits_5=4 {midnight - day * DAY_S}\n"
            for day in range(days)
        ).encode()
    )
    rows = table(answer(store, "does-it-help", "In words", now_s, 30, bucket=store.database))
    assert said(panel_of("does-it-help", "In words"), rows[0]["sure"] if rows else None)[0].startswith(words)


def test_seen_over_expected_counts_all_chosen_categories(filled, now_s):
    stored = points(filled, "outcome", now_s, 30, region="northville", horizon="4h")
    wanted = sum(point["observed"] for point in stored) / sum(point["expected"] for point in stored)
    (row,) = table(answer(filled, "does-it-help", "Seen over expected", now_s, 30))
    assert row["ratio"] == pytest.approx(wanted)


def test_better_than_the_baseline_is_the_part_of_its_error_that_is_gone(filled, now_s):
    rows = table(answer(filled, "does-it-help", "Better than the simple baseline, by day", now_s, 30))
    day = [
        point
        for point in points(filled, "outcome", now_s, 30, region="northville", horizon="4h")
        if moment(point).date() == moment(rows[3]).date()
    ]
    for name, field in (("Brier score", "brier"), ("log score", "log_score")):
        ours, theirs = (sum(point[prefix + field] for point in day) for prefix in ("", "baseline_"))
        assert rows[3][name] == pytest.approx(1 - ours / theirs)


def test_weeks_begin_on_monday_and_count_each_hour_once(filled, filled_long, now_s):
    wanted = Counter()
    for point in points(filled_long, "outcome", now_s, 56, region="northville", horizon="1h"):
        monday = moment(point).date() - timedelta(days=moment(point).weekday())
        wanted[point["category"], monday] += point["observed"]
    rows = table(answer(filled, "trends", "Week over week", now_s, 56))
    counts = {(row["category"], moment(row).date()): row["seen"] for row in rows}
    first = min(monday for _, monday in wanted)  # which is cut by the range
    whole = [key for key in wanted if key[1] > first]
    assert len(whole) >= 14
    for key in whole:
        assert counts[key] == wanted[key]


def test_districts_count_one_forecast_a_day(filled, now_s):
    daily = {}
    for point in points(filled, "outcome_area", now_s, 7, region="northville", horizon="24h"):
        daily.setdefault((point["district"], point["category"], moment(point).date()), point["observed"])
    wanted = Counter()
    for (district, _, _), observed in daily.items():
        wanted[district] += observed
    rows = table(answer(filled, "trends", "Districts", now_s, 7))
    assert {row["district"]: row["seen"] for row in rows} == dict(wanted)


def test_the_hour_of_the_week_comes_with_each_hour(filled, now_s):
    for row in table(answer(filled, "trends", "Hour of the week", now_s, 14)):
        local = moment(row).astimezone(ZoneInfo(SPECS["northville"].timezone))
        assert (row["weekday"], row["hour"]) == (local.isoweekday(), local.hour)


def summed(stored, names, key):
    """The named fields of the points, added up by `key`."""
    sums = {}
    for point in stored:
        at = sums.setdefault(point[key], dict.fromkeys(names, 0))
        for name in names:
            at[name] += point[name]
    return sums


def test_incidents_in_an_hour_are_those_of_each_hour_and_category(filled, now_s):
    stored = points(filled, "outcome", now_s, 7, region="northville", horizon="1h")
    rows = table(answer(filled, "trends", "Incidents in an hour, by category", now_s, 7))
    counts = {(row["category"], row["Time"]): row["seen"] for row in rows}
    assert counts == {(point["category"], point["Time"]): point["observed"] for point in stored}


@pytest.mark.parametrize(
    ("page", "title", "days", "by", "horizon", "shown"),
    [
        ("trends", "Seen and expected in an hour, all chosen categories", 7, "Time", "1h", BOTH),
        ("does-it-help", "Foreseen and seen", 30, "Time", "4h", {**BOTH, "usual": "usual"}),
        ("does-it-help", "By district: seen over expected", 30, "district", "4h", BOTH),
    ],
)
def test_seen_and_expected_add_the_categories_up(filled, now_s, page, title, days, by, horizon, shown):
    measurement = "outcome_area" if by == "district" else "outcome"
    wanted = summed(points(filled, measurement, now_s, days, region="northville", horizon=horizon), shown.values(), by)
    rows = [row for row in table(answer(filled, page, title, now_s, days)) if row["seen"] is not None]
    assert len(rows) == len(wanted)
    for row in rows:
        for name, field in shown.items():
            assert row[name] == pytest.approx(wanted[row[by]][field])


def test_how_many_hours_were_judged_and_when_the_last_one(filled, now_s):
    stored = points(filled, "outcome", now_s, 30, region="northville", horizon="4h")
    (row,) = table(answer(filled, "does-it-help", "Hours judged", now_s, 30))
    assert row["judged"] == pytest.approx(len({point["Time"] for point in stored}) / (30 * 24))
    (row,) = table(answer(filled, "does-it-help", "Last evaluation", now_s, 30))
    assert row["closed"] == 1000 * max(point["closed_s"] for point in stored)


def test_chances_and_what_came_are_means_over_all_cells_of_a_bin(filled, now_s):
    stored = points(filled, "outcome_chance", now_s, 30, region="northville", horizon="4h")
    wanted = summed(stored, ("cells", "said", "came"), "chance")
    rows = table(answer(filled, "does-it-help", "When it said so, did it come?", now_s, 30))
    assert len(rows) == len(wanted)
    for row in rows:
        of_bin = wanted[row["chance"]]
        assert row["cells"] == of_bin["cells"]
        means = of_bin["said"] / of_bin["cells"], of_bin["came"] / of_bin["cells"]
        assert (row["said"], row["came"]) == pytest.approx(means)


def test_the_ledger_over_time_adds_up_to_what_was_consumed(filled, now_s):
    region = "(northville|southville)"
    rows = table(answer(filled, "pipeline", "What became of the messages", now_s, 1 / 24, region=region))
    minutes = len(rows)
    assert minutes >= 58
    per_minute = {name: value for name, value in ledger(1).items() if name in rows[0]}
    for name, value in per_minute.items():
        assert sum(row[name] for row in rows) == 2 * minutes * value
    assert sum(per_minute.values()) == ledger(1)["consumed"]


def test_rejects_by_reason_add_up_to_the_rejects(filled, now_s):
    region = "(northville|southville)"
    rows = table(answer(filled, "pipeline", "Refused, by reason", now_s, 1 / 24, region=region))
    refused = sum(value for row in rows for name, value in row.items() if name != "Time")
    assert refused == 2 * len(rows) * ledger(1)["rejected"]

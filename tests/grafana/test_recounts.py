"""Figures of the pages against a recount of the stored points in Python."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import scipy.stats

from schemas.decode import MARKS
from tests.grafana.conftest import DAY_S, panel_of, rows_of
from tests.harness.grafana_world import CHANGE, DATA_DAYS, MODEL, SPECS, feedback_lines, ledger
from tests.harness.influxql import filled_in, table
from tests.harness.pages import PAGES, PANELS, said

BOTH = {"seen": "observed", "expected": "expected"}  # shown: stored


def answer(store, page, title, now_s, days=30, **changes):
    return rows_of(store, page, title, now_s, days=days, categories="(fire|ems)", **changes)


def points(store, measurement, now_s, days=30, **tags):
    """The stored points of the page's region in the shown time, oldest first."""
    where = " AND ".join(f"\"{name}\" = '{value}'" for name, value in {"region": "northville", **tags}.items())
    query = f'SELECT * FROM "{measurement}" WHERE {where} AND $timeFilter'  # noqa: S608 - made from constants
    return table(store.series(filled_in(query, from_s=now_s - days * DAY_S, to_s=now_s)))


def moment(point):
    return datetime.fromtimestamp(point["Time"] / 1000, UTC)


def by_day(of_hours):
    """The points of each UTC day."""
    days = {}
    for point in of_hours:
        days.setdefault(moment(point).date(), []).append(point)
    return days


def mean(of_hours, name):
    return sum(point[name] for point in of_hours) / len(of_hours)


@pytest.mark.parametrize("k", [5, 10])
def test_hit_rates_are_hits_over_incidents(filled, now_s, k):
    (row,) = answer(filled, "does-it-help", f"Incidents inside the named {k} % of the area", now_s)
    wanted = {"this forecast": "hits", "simple baseline": "baseline_hits", "perfect foresight": "ideal_hits"}
    stored = points(filled, "outcome", now_s, horizon="4h")
    assert len({round(row[name], 6) for name in wanted}) == 3, "the stored points cannot tell them apart"
    for name, kind in wanted.items():
        hits = sum(point[f"{kind}_{k}"] for point in stored)
        assert row[name] == pytest.approx(hits / sum(point["observed"] for point in stored))


def test_whether_it_helps_is_judged_by_the_mean_difference_of_days(filled, now_s):
    days = by_day(point for point in points(filled, "outcome", now_s, horizon="4h") if point["observed"])
    more = [
        sum(point["hits_5"] - point["baseline_hits_5"] for point in day) / sum(point["observed"] for point in day)
        for day in days.values()
    ]
    (row,) = answer(filled, "does-it-help", "In words", now_s)
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
    rows = answer(store, "does-it-help", "In words", now_s, bucket=store.database)
    assert said(panel_of("does-it-help", "In words"), rows[0]["sure"] if rows else None)[0].startswith(words)


def test_seen_over_expected_counts_all_chosen_categories(filled, now_s):
    stored = points(filled, "outcome", now_s, horizon="4h")
    wanted = sum(point["observed"] for point in stored) / sum(point["expected"] for point in stored)
    (row,) = answer(filled, "does-it-help", "Seen over expected", now_s)
    assert row["ratio"] == pytest.approx(wanted)


def test_better_than_the_baseline_is_the_part_of_its_error_that_is_gone(filled, now_s):
    rows = answer(filled, "does-it-help", "Better than the simple baseline, by day", now_s)
    day = by_day(points(filled, "outcome", now_s, horizon="4h"))[moment(rows[3]).date()]
    for name, field in (("Brier score", "brier"), ("log score", "log_score")):
        assert rows[3][name] == pytest.approx(1 - mean(day, field) / mean(day, f"baseline_{field}"))


def test_weeks_begin_on_monday_and_count_each_hour_once(filled, filled_long, now_s):
    wanted = Counter()
    for point in points(filled_long, "outcome", now_s, 56, horizon="1h"):
        monday = moment(point).date() - timedelta(days=moment(point).weekday())
        wanted[point["category"], monday] += point["observed"]
    rows = answer(filled, "trends", "Week over week", now_s, 56)
    counts = {(row["category"], moment(row).date()): row["seen"] for row in rows}
    first = min(monday for _, monday in wanted)  # which is cut by the range
    whole = [key for key in wanted if key[1] > first]
    assert len(whole) >= 14
    for key in whole:
        assert counts[key] == wanted[key]


def test_districts_count_one_forecast_a_day(filled, now_s):
    daily = {}
    for point in points(filled, "outcome_area", now_s, 7, horizon="24h"):
        daily.setdefault((point["district"], point["category"], moment(point).date()), point["observed"])
    wanted = Counter()
    for (district, _, _), observed in daily.items():
        wanted[district] += observed
    rows = answer(filled, "trends", "Districts", now_s, 7)
    assert {row["district"]: row["seen"] for row in rows} == dict(wanted)


def test_the_hour_of_the_week_comes_with_each_hour(filled, now_s):
    for row in answer(filled, "trends", "Hour of the week", now_s, 14):
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
    stored = points(filled, "outcome", now_s, 7, horizon="1h")
    rows = answer(filled, "trends", "Incidents in an hour, by category", now_s, 7)
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
    wanted = summed(points(filled, measurement, now_s, days, horizon=horizon), shown.values(), by)
    rows = [row for row in answer(filled, page, title, now_s, days) if row["seen"] is not None]
    assert len(rows) == len(wanted)
    for row in rows:
        for name, field in shown.items():
            assert row[name] == pytest.approx(wanted[row[by]][field])


def test_how_many_hours_were_judged_and_when_the_last_one(filled, now_s):
    stored = points(filled, "outcome", now_s, horizon="4h")
    (row,) = answer(filled, "does-it-help", "Hours judged", now_s)
    assert row["judged"] == pytest.approx(len({point["Time"] for point in stored}) / (30 * 24))
    (row,) = answer(filled, "does-it-help", "Last evaluation", now_s)
    assert row["closed"] == 1000 * max(point["closed_s"] for point in stored)


def test_chances_and_what_came_are_means_over_all_cells_of_a_bin(filled, now_s):
    stored = points(filled, "outcome_chance", now_s, horizon="4h")
    wanted = summed(stored, ("cells", "said", "came"), "chance")
    rows = answer(filled, "does-it-help", "When it said so, did it come?", now_s)
    assert len(rows) == len(wanted)
    for row in rows:
        of_bin = wanted[row["chance"]]
        assert row["cells"] == of_bin["cells"]
        means = of_bin["said"] / of_bin["cells"], of_bin["came"] / of_bin["cells"]
        assert (row["said"], row["came"]) == pytest.approx(means)


def test_the_ledger_over_time_adds_up_to_what_was_consumed(filled, now_s):
    region = "(northville|southville)"
    rows = answer(filled, "pipeline", "What became of the messages", now_s, 1 / 24, region=region)
    minutes = len(rows)
    assert minutes >= 58
    per_minute = {name: value for name, value in ledger(1).items() if name in rows[0]}
    for name, value in per_minute.items():
        assert sum(row[name] for row in rows) == 2 * minutes * value
    assert sum(per_minute.values()) == ledger(1)["consumed"]


def test_rejects_by_reason_add_up_to_the_rejects(filled, now_s):
    region = "(northville|southville)"
    rows = answer(filled, "pipeline", "Refused, by reason", now_s, 1 / 24, region=region)
    refused = sum(value for row in rows for name, value in row.items() if name != "Time")
    assert refused == 2 * len(rows) * ledger(1)["rejected"]


SEQUENCE = "Challenger minus champion: mean difference of the log scores, and its bounds"


def of_model(store, title, now_s, **changes):
    return answer(store, "model", title, now_s, **changes)


def test_log_scores_by_day_are_means_of_the_hours_that_both_forecast(filled, now_s):
    wanted = by_day(points(filled, "shadow", now_s, horizon="1h"))
    rows = of_model(filled, "Log score by day, of the same hours", now_s)
    by_date = {moment(row).date(): row for row in rows if row["champion"] is not None}
    assert set(by_date) == set(wanted)
    for day, hours in wanted.items():
        for name in ("champion", "challenger", "baseline"):
            assert by_date[day][name] == pytest.approx(mean(hours, f"{name}_log_score"))


@pytest.mark.parametrize(("number", "measurement", "prefix"), [(0, "outcome", ""), (1, "shadow", "challenger_")])
def test_skill_of_both_versions_is_the_part_of_the_baselines_score_that_is_gone(
    filled, now_s, number, measurement, prefix
):
    wanted = by_day(points(filled, measurement, now_s, horizon="1h"))
    name = "challenger" if prefix else "champion"
    rows = of_model(filled, "Better than the baseline, by day", now_s, number=number)
    by_date = {moment(row).date(): row[name] for row in rows if row[name] is not None}
    assert set(by_date) == set(wanted)
    for day, hours in wanted.items():
        assert by_date[day] == pytest.approx(1 - mean(hours, f"{prefix}log_score") / mean(hours, "baseline_log_score"))


def test_the_sequence_has_its_bounds_the_margin_and_zero(filled, now_s):
    wanted = {point["Time"]: point for point in points(filled, "gate", now_s)}
    rows = [row for row in of_model(filled, SEQUENCE, now_s) if row["low"] is not None]
    assert {row["Time"] for row in rows} == set(wanted)
    for row in rows:
        for name in ("low", "high", "difference", "margin"):
            assert row[name] == pytest.approx(1e6 * wanted[row["Time"]][name])
        assert row["low"] < row["difference"] < row["high"]
        assert row["zero"] == 0


def test_what_the_gate_waits_for_is_what_it_said_each_day_newest_first(filled, now_s):
    said = points(filled, "gate", now_s)
    rows = of_model(filled, "What the gate waits for", now_s)
    names = ("Time", "days", "failed_hours", "decision", "because")
    assert [[row[name] for name in names] for row in rows] == [[point[name] for name in names] for point in said[::-1]]
    assert rows[0]["decision"] == "go on"
    assert "of 14 days" in rows[0]["because"]
    (decided,), (judged,) = (of_model(filled, title, now_s) for title in ("The gate says", "Days judged"))
    assert (decided["decision"], judged["days"]) == (rows[0]["decision"], rows[0]["days"])


def test_drift_by_category_is_the_newest_of_the_version_that_scores(filled, now_s):
    drift = points(filled, "drift", now_s)
    names, newest = ("ratio", "low", "high"), max(point["Time"] for point in drift)
    wanted = {point["category"]: [point[name] for name in names] for point in drift if point["Time"] == newest}
    rows = of_model(filled, "Seen over expected, by category", now_s)
    assert {row["category"]: [row[name] for name in names] for row in rows} == wanted
    assert set(wanted) == {"all", *SPECS["northville"].categories}
    assert of_model(filled, "Seen over expected, by category", now_s, champion="another") == []
    rows = of_model(filled, "Seen over expected, of the version that scores", now_s)
    by_time = {row["Time"]: row["seen / expected"] for row in rows if row["low"] is not None}
    assert by_time == {point["Time"]: point["ratio"] for point in drift if point["category"] == "all"}


def test_the_age_of_the_data_of_the_version_that_scores_and_since_when_it_does(filled, now_s):
    ledgers = [point for point in points(filled, "pipeline", now_s) if point["model"] == MODEL]
    titles = ("Version that scores", "Scores since", "Age of its data", "Its data end")
    (version,), (since,), (age,), (end,) = (of_model(filled, title, now_s) for title in titles)
    assert version["model"] == MODEL
    assert since["since"] == 1000 * min(point["as_of"] for point in ledgers)
    assert end["end"] == 1000 * ledgers[-1]["data_end_s"]
    assert age["age"] == pytest.approx((now_s - ledgers[-1]["data_end_s"]) / DAY_S)
    assert age["age"] == pytest.approx(DATA_DAYS, abs=0.01)


def test_the_skill_of_the_version_that_scores_is_of_its_own_hours(filled, now_s):
    hours = points(filled, "outcome", now_s, horizon="1h")
    (row,) = of_model(filled, "Better than its baseline", now_s)
    assert row["skill"] == pytest.approx(1 - mean(hours, "log_score") / mean(hours, "baseline_log_score"))
    assert of_model(filled, "Better than its baseline", now_s, champion="another") == []


def test_without_a_challenger_no_query_fails_and_what_is_empty_has_words_of_its_own(filled, now_s):
    """southville has none."""
    empty = set()
    for panel in PAGES["model"]["panels"]:
        rows = [
            of_model(filled, panel["title"], now_s, number=number, region="southville", challenger="none")
            for number in range(len(panel.get("targets", [])))
        ]
        if rows and not any(rows):
            empty.add(panel["title"])
            assert panel["fieldConfig"]["defaults"]["noValue"] not in ("", "STALE")
    assert empty >= {"The gate says", "Days judged", "What the gate waits for", "Log score by day, of the same hours"}
    (row,) = of_model(filled, "Challenger", now_s, region="southville")
    assert row["challenger"] == "none"


def test_what_is_followed_is_what_the_judge_stored(filled, now_s):
    wanted = points(filled, "following", now_s)
    (gained,) = of_model(filled, "Gained by following", now_s)
    assert gained["gained"] == pytest.approx(
        1000 * sum(point["gained"] for point in wanted) / sum(point["incidents"] for point in wanted)
    )
    hours = of_model(filled, "Hours of the day that are followed", now_s)
    assert {(row["category"], row["hour"]) for row in hours} == {
        (category, f"{hour:02d}") for category in SPECS["northville"].categories for hour in range(24)
    }
    assert max(hours, key=lambda row: row["factor"])["hour"] == "07"
    cells = of_model(filled, "Cells that are followed", now_s)
    assert sum(row["factor"] > 1 for row in cells) == 5
    assert of_model(filled, "Follows a change", now_s)[0]["change"] == CHANGE


NOW_S = 1_700_000_000
MARK_TITLES = ("What shifts said", "What shifts said, by day")


@pytest.fixture(scope="module")
def marked_store(influxdb):
    return influxdb.another("marks")


@pytest.fixture(scope="module")
def stored_marks(marked_store):
    """The lines of a shift in the page's region; another region has some, too."""
    draw = np.random.default_rng(3)
    ours = feedback_lines("northville", NOW_S, draw)
    marked_store.write(ours + ours.splitlines(keepends=True)[0] + feedback_lines("southville", NOW_S, draw, days=3))
    return [line.decode() for line in sorted(set(ours.splitlines()))]


def asked(marked_store, title):
    """The rows of each mark's query, by mark."""
    return {mark: answer(marked_store, "does-it-help", title, NOW_S, number=at) for at, mark in enumerate(MARKS)}


def kind_of(line):
    return next(mark for mark in MARKS if f",mark={mark}," in line)


def number(row):
    return next(value for name, value in row.items() if name != "Time")


def test_each_kind_is_counted_once(marked_store, stored_marks):
    told = {mark: sum(map(number, rows)) for mark, rows in asked(marked_store, "What shifts said").items()}
    assert told == Counter(map(kind_of, stored_marks))


def test_by_the_day_of_the_scores_that_are_meant(marked_store, stored_marks):
    wanted = Counter((kind_of(line), int(line.split()[-1]) // DAY_S) for line in stored_marks)
    told = {
        (mark, row["Time"] // 1000 // DAY_S): number(row)
        for mark, rows in asked(marked_store, "What shifts said, by day").items()
        for row in rows
    }
    assert told == wanted


def test_no_other_panel_reads_them():
    readers = {
        name
        for name, panel in PANELS.items()
        if any('"feedback"' in target["query"] for target in panel.get("targets", []))
    }
    assert readers == {f"does-it-help: {title}" for title in MARK_TITLES}


@pytest.mark.parametrize("title", MARK_TITLES)
def test_a_page_without_marks_says_how_to_send_one(influxdb, title):
    empty = influxdb.another("no_marks")
    assert all(rows == [] for rows in asked(empty, title).values())
    assert "risk feedback send" in panel_of("does-it-help", title)["fieldConfig"]["defaults"]["noValue"]

"""The page Model against a recount of the stored points in Python, with a challenger and without."""

import pytest

from tests.grafana.test_recounts import DAY_S, answer, moment, panel_of, points
from tests.harness.grafana_world import CHANGE, DATA_DAYS, MODEL, SPECS, VARIABLES
from tests.harness.influxql import filled_in, table
from tests.harness.pages import PAGES

SEQUENCE = "Challenger minus champion: mean difference of the log scores, and its bounds"


def shown(store, title, now_s, **changes):
    """The rows of a panel, over 30 days."""
    return table(answer(store, "model", title, now_s, 30, **changes))


def stored(store, measurement, now_s, **tags):
    return points(store, measurement, now_s, 30, region="northville", **tags)


def by_day(of_hours):
    """The points of each UTC day."""
    days = {}
    for point in of_hours:
        days.setdefault(moment(point).date(), []).append(point)
    return days


def mean(of_hours, name):
    return sum(point[name] for point in of_hours) / len(of_hours)


def test_log_scores_by_day_are_means_of_the_hours_that_both_forecast(filled, now_s):
    wanted = by_day(stored(filled, "shadow", now_s, horizon="1h"))
    rows = shown(filled, "Log score by day, of the same hours", now_s)
    by_date = {moment(row).date(): row for row in rows if row["champion"] is not None}
    assert set(by_date) == set(wanted)
    for day, hours in wanted.items():
        for name in ("champion", "challenger", "baseline"):
            assert by_date[day][name] == pytest.approx(mean(hours, f"{name}_log_score"))


@pytest.mark.parametrize(("number", "measurement", "prefix"), [(0, "outcome", ""), (1, "shadow", "challenger_")])
def test_skill_of_both_versions_is_the_part_of_the_baselines_score_that_is_gone(
    filled, now_s, number, measurement, prefix
):
    wanted = by_day(stored(filled, measurement, now_s, horizon="1h"))
    query = panel_of("model", "Better than the baseline, by day")["targets"][number]["query"]
    asked = filled_in(query, from_s=now_s - 30 * DAY_S, to_s=now_s, variables=VARIABLES)
    name = "challenger" if prefix else "champion"
    by_date = {moment(row).date(): row[name] for row in table(filled.series(asked)) if row[name] is not None}
    assert set(by_date) == set(wanted)
    for day, hours in wanted.items():
        assert by_date[day] == pytest.approx(1 - mean(hours, f"{prefix}log_score") / mean(hours, "baseline_log_score"))


def test_the_sequence_has_its_bounds_the_margin_and_zero(filled, now_s):
    wanted = {point["Time"]: point for point in stored(filled, "gate", now_s)}
    rows = [row for row in shown(filled, SEQUENCE, now_s) if row["low"] is not None]
    assert {row["Time"] for row in rows} == set(wanted)
    for row in rows:
        for name in ("low", "high", "difference", "margin"):
            assert row[name] == pytest.approx(1e6 * wanted[row["Time"]][name])
        assert row["low"] < row["difference"] < row["high"]
        assert row["zero"] == 0


def test_what_the_gate_waits_for_is_what_it_said_each_day_newest_first(filled, now_s):
    said = stored(filled, "gate", now_s)
    rows = shown(filled, "What the gate waits for", now_s)
    names = ("Time", "days", "failed_hours", "decision", "because")
    assert [[row[name] for name in names] for row in rows] == [[point[name] for name in names] for point in said[::-1]]
    assert rows[0]["decision"] == "go on"
    assert "of 14 days" in rows[0]["because"]
    (decided,), (judged,) = (shown(filled, title, now_s) for title in ("The gate says", "Days judged"))
    assert (decided["decision"], judged["days"]) == (rows[0]["decision"], rows[0]["days"])


def test_drift_by_category_is_the_newest_of_the_version_that_scores(filled, now_s):
    drift = stored(filled, "drift", now_s)
    names, newest = ("ratio", "low", "high"), max(point["Time"] for point in drift)
    wanted = {point["category"]: [point[name] for name in names] for point in drift if point["Time"] == newest}
    rows = shown(filled, "Seen over expected, by category", now_s)
    assert {row["category"]: [row[name] for name in names] for row in rows} == wanted
    assert set(wanted) == {"all", *SPECS["northville"].categories}
    assert shown(filled, "Seen over expected, by category", now_s, champion="another") == []
    rows = shown(filled, "Seen over expected, of the version that scores", now_s)
    by_time = {row["Time"]: row["seen / expected"] for row in rows if row["low"] is not None}
    assert by_time == {point["Time"]: point["ratio"] for point in drift if point["category"] == "all"}


def test_the_age_of_the_data_of_the_version_that_scores_and_since_when_it_does(filled, now_s):
    ledgers = [point for point in stored(filled, "pipeline", now_s) if point["model"] == MODEL]
    titles = ("Version that scores", "Scores since", "Age of its data", "Its data end")
    (version,), (since,), (age,), (end,) = (shown(filled, title, now_s) for title in titles)
    assert version["model"] == MODEL
    assert since["since"] == 1000 * min(point["as_of"] for point in ledgers)
    assert end["end"] == 1000 * ledgers[-1]["data_end_s"]
    assert age["age"] == pytest.approx((now_s - ledgers[-1]["data_end_s"]) / DAY_S)
    assert age["age"] == pytest.approx(DATA_DAYS, abs=0.01)


def test_the_skill_of_the_version_that_scores_is_of_its_own_hours(filled, now_s):
    hours = stored(filled, "outcome", now_s, horizon="1h")
    (row,) = shown(filled, "Better than its baseline", now_s)
    assert row["skill"] == pytest.approx(1 - mean(hours, "log_score") / mean(hours, "baseline_log_score"))
    assert shown(filled, "Better than its baseline", now_s, champion="another") == []


def test_without_a_challenger_no_query_fails_and_what_is_empty_has_words_of_its_own(filled, now_s):
    """southville has none."""
    empty = set()
    for panel in PAGES["model"]["panels"]:
        rows = [
            filled.series(
                filled_in(
                    target["query"],
                    from_s=now_s - 30 * DAY_S,
                    to_s=now_s,
                    variables=VARIABLES | {"region": "southville", "challenger": "none"},
                )
            )
            for target in panel.get("targets", [])
        ]
        if rows and not any(rows):
            empty.add(panel["title"])
            assert panel["fieldConfig"]["defaults"]["noValue"] not in ("", "STALE")
    assert empty >= {"The gate says", "Days judged", "What the gate waits for", "Log score by day, of the same hours"}
    (row,) = shown(filled, "Challenger", now_s, region="southville")
    assert row["challenger"] == "none"


def test_what_is_followed_is_what_the_judge_stored(filled, now_s):
    wanted = points(filled, "following", now_s, 30, region="northville")
    (gained,) = shown(filled, "Gained by following", now_s)
    assert gained["gained"] == pytest.approx(
        1000 * sum(point["gained"] for point in wanted) / sum(point["incidents"] for point in wanted)
    )
    hours = shown(filled, "Hours of the day that are followed", now_s)
    assert {(row["category"], row["hour"]) for row in hours} == {
        (category, f"{hour:02d}") for category in SPECS["northville"].categories for hour in range(24)
    }
    assert max(hours, key=lambda row: row["factor"])["hour"] == "07"
    cells = shown(filled, "Cells that are followed", now_s)
    assert sum(row["factor"] > 1 for row in cells) == 5
    assert shown(filled, "Follows a change", now_s)[0]["change"] == CHANGE

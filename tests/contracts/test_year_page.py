"""The page about the simulated year against its benchmark's file."""

import json
from pathlib import Path

import pytest

from benchmarks.year import PLAN_TEXT, Year

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "explanation" / "year.md").read_text(encoding="utf-8")
TEXT = " ".join(PAGE.split())
RESULTS = json.loads((ROOT / "benchmarks" / "year.json").read_text(encoding="utf-8"))
MOVED, QUIET = (RESULTS["regions"][name] for name in ("moved", "quiet"))
ROWS = {
    "challengers made": "challengers",
    "refused before a trial": "refused",
    "promoted": "promoted",
    "lost in the first four weeks": "lost_first",
    "lost in the last four weeks": "lost_last",
}
AROUND = {
    "lost in the four weeks before the change": "lost_before",
    "lost from the change to the promotion": "lost_between",
    "lost in the four weeks after it": "lost_after",
}


def of(region, what, *, since=0):
    return [one for one in region["happenings"] if one["what"] == what and not one["is_bad"] and one["day"] >= since]


def test_the_table_is_that_of_the_file():
    moved, quiet = MOVED["summary"], QUIET["summary"]
    rows = [f"| {words} | {moved[name]:g} | {quiet[name]:g} |" for words, name in ROWS.items()]
    rows += [f"| {words} | {moved[name]:g} | |" for words, name in AROUND.items()]
    assert [line for line in PAGE.splitlines() if line.startswith("| ")][2:] == rows


def test_the_year_is_the_one_that_the_command_lives():
    year = Year()
    assert (RESULTS["days"], RESULTS["first_days"]) == (year.days, year.first_days)
    assert f"{year.side**2} cells" in TEXT
    assert f"{year.per_day:.0f} incidents a day" in TEXT
    assert f"learns from {year.first_days} days" in TEXT
    assert f"learn for {year.effort.epochs} rounds with an example every {year.effort.step_minutes // 60} hours" in TEXT
    assert PLAN_TEXT.partition("#")[0].split() == ["auto", "=", "true"]


def test_the_days_and_losses_are_those_of_the_file():
    found, change = MOVED["summary"], MOVED["change_day"]
    made = [one["day"] for one in of(MOVED, "due", since=found["drift_seen_day"])]
    refused = [one["day"] for one in of(MOVED, "refused", since=change)]
    assert f"On day {change} one region" in TEXT
    assert f"seen on day {found['drift_seen_day']}, {found['drift_seen_day'] - change} days later" in TEXT
    assert refused[:2] == made[:2]
    assert f"The third, made on day {made[2]}, is promoted on day {found['promoted_day']}" in TEXT
    assert f"{found['promoted_day'] - change} days after the change" in TEXT
    losses = (found["lost_after"], found["lost_between"], found["lost_before"], found["lost_last"])
    after, between, before, last = (f"{loss:.3f}" for loss in losses)
    assert f"{after} are lost in place of {between}, and {before} before" in TEXT
    assert f"{last} are lost at the year's end" in TEXT
    won_back = (found["lost_between"] - found["lost_after"]) / (found["lost_between"] - found["lost_before"])
    assert won_back == pytest.approx(0.5, abs=0.1)  # "half"
    assert all("observed over" not in one["why"] for one in of(MOVED, "due", since=found["promoted_day"]))


def test_the_quiet_region_has_no_drift_and_the_bad_challenger_no_chance():
    assert all("observed over" not in one["why"] for one in of(QUIET, "due"))
    limited = [one["day"] for one in of(QUIET, "refused") if "the plan allows 4" in one["why"]]
    assert f"From day {limited[0]} on the quiet region's challengers are refused" in TEXT
    refused, forced, ended = QUIET["summary"]["bad"]
    assert (refused["what"], forced["what"], ended["what"]) == ("refused", "trial", "stop")
    assert refused["why"].partition(";")[0] in TEXT
    assert f"stopped after {ended['day'] - forced['day']} days" in TEXT


def test_nothing_is_promoted_that_was_not_due_and_tried():
    for region in (MOVED, QUIET):
        steps = [one["what"] for one in region["happenings"] if not one["is_bad"]]
        for number, what in enumerate(steps):
            if what == "promote":
                assert steps[number - 2 : number] == ["due", "trial"]

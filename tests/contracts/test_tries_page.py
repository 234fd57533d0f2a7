"""tries.md and aging.md have the figures of benchmarks/tries.json, aging.json and newcomers.json."""

import json
from pathlib import Path

from benchmarks.newcomers import EMBEDDED, FLAT, JOINT, LENT, OWN
from benchmarks.tries.columns import CANDIDATES

ROOT = Path(__file__).parents[2]
PAGE, AGING_PAGE = (
    (ROOT / "docs" / "explanation" / f"{name}.md").read_text(encoding="utf-8") for name in ("tries", "aging")
)
TITLES = {
    "chicago-3km-daily": "Chicago's days",
    "chicago-1km-hourly": "Chicago's hours",
    "montgomery-2km-hourly": "Montgomery's hours",
}


def read(name):
    return json.loads((ROOT / "benchmarks" / f"{name}.json").read_text(encoding="utf-8"))["tasks"]


def words(found):
    return f"{found['mean']:+.3f} % ({found['low']:+.3f}, {found['high']:+.3f}): {found['verdict']}"


def tried(task, name):
    return words(task["tries"][name]) if name in task["tries"] else "one category only"


def table(head, rows):
    return [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]


def tries_table(tasks):
    names = list(tasks[0]["tries"])
    by_gain = sorted(names, key=lambda name: tasks[0]["tries"][name]["mean"])
    rows = [[name, *(tried(task, name) for task in tasks)] for name in by_gain if name != "network"]
    return table(["tried", *(TITLES[task["task"]] for task in tasks)], rows)


def aging_table(tasks):
    rows = []
    for task in tasks:
        for number, row in enumerate(task["by_weeks"]):
            name = "" if number else TITLES[task["task"]]
            rows.append([name, str(row["from_week"]), words(row["network"]), words(row["baseline"])])
    return table(["task", "from week", "network", "baseline"], rows)


def newcomers_table(tasks):
    forecasts = (FLAT, OWN, LENT, JOINT, EMBEDDED)
    rows = []
    for task in tasks:
        for number, row in enumerate(task["by_weeks"]):
            name = "" if number else TITLES[task["task"]]
            rows.append([name, str(row["weeks"]), *(words(row["against_its_baseline"][one]) for one in forecasts)])
    return table(["newcomer", "weeks", *forecasts], rows)


def test_the_tables_are_those_of_the_files():
    for lines, page in (
        (tries_table(read("tries")), PAGE),
        (aging_table(read("aging")), AGING_PAGE),
        (newcomers_table(read("newcomers")), AGING_PAGE),
    ):
        assert "\n".join(lines).replace("|  |", "| |") in page


def test_every_family_of_features_was_tried_on_every_task():
    tried = {task["task"]: set(task["tries"]) for task in read("tries")}
    assert set(tried) == set(TITLES)
    for names in tried.values():
        assert set(CANDIDATES) < names


def test_what_the_page_says_of_the_kept_ones_is_so():
    days, chicago, hours = (next(one["tries"] for one in read("tries") if one["task"] == name) for name in TITLES)
    allowed = "network, linear dispersion allowed"
    assert hours[allowed]["verdict"] == "better"
    assert days[allowed]["mean"] <= 0
    assert 3 <= hours[allowed]["mean"] / -hours["baseline"]["mean"] < 4
    more = hours[allowed]["mean"] - hours[f"{allowed}, by cell"]["mean"]
    assert f"gains {more:.2f} % more" in " ".join(PAGE.split())
    for tries in (days, chicago):
        assert abs(tries[allowed]["mean"] - tries[f"{allowed}, by cell"]["mean"]) < 0.005
    for tries in (days, chicago, hours):
        assert tries["baseline that does not follow"]["mean"] > tries["baseline"]["mean"]
    for name in CANDIDATES:
        means = [tries[name]["mean"] for tries in (days, chicago, hours)]
        assert min(means) > -0.02
    better = [
        (name, number)
        for name in CANDIDATES
        for number, tries in enumerate((days, chicago, hours))
        if tries[name]["verdict"] == "better"
    ]
    assert 3 * len(CANDIDATES) == 21
    assert better == [("learned self-exciting sums", 1)]
    assert all(tries["learned self-exciting sums"]["mean"] > 0 for tries in (days, hours))
    pools = [tries["equal pool of GLM, boosting, network"] for tries in (days, chicago, hours)]
    assert [pool["verdict"] for pool in pools] == ["better", "better", "tie"]


def test_what_the_page_says_of_a_model_of_three_months_is_so():
    ages = {task["task"]: {row["from_week"]: row["network"] for row in task["by_weeks"]} for task in read("aging")}
    tried = {task["task"]: task["tries"]["baseline"]["mean"] for task in read("tries")}
    calls, *chicago = (ages[name][12] for name in ("montgomery-2km-hourly", "chicago-3km-daily", "chicago-1km-hourly"))
    gain = tried["montgomery-2km-hourly"]  # what the baseline loses to the network
    assert calls["verdict"] == "worse"
    assert gain / 2 < calls["mean"] < gain
    assert all(one["mean"] < calls["mean"] / 2 for one in chicago)
    for week, one in ages["chicago-1km-hourly"].items():
        assert (one["mean"] > tried["chicago-1km-hourly"]) == (week >= 36) or one["verdict"] == "too short"


def test_what_the_page_says_of_a_fit_on_all_of_the_time_is_so():
    for task in read("aging"):
        assert f"{TITLES[task['task']]}: {words(task['fitted_again'])}" in AGING_PAGE


def test_what_the_page_says_of_newcomers_is_so():
    gained = {
        (task["task"], row["weeks"], name): found["mean"] - row["against_its_baseline"][OWN]["mean"]
        for task in read("newcomers")
        for row in task["by_weeks"]
        for name, found in row["against_its_baseline"].items()
        if name not in (OWN, FLAT)
    }
    most = min(gained, key=gained.__getitem__)
    assert most == ("chicago-1km-hourly", 3, JOINT)
    assert f"at most {-gained[most]:.2f} %" in " ".join(AGING_PAGE.split())
    helped = {place[:2] for place, gain in gained.items() if gain < -0.03}
    assert helped == {("chicago-1km-hourly", weeks) for weeks in (3, 6, 24)}
    assert all(
        gain > 0 for place, gain in gained.items() if place[2] == LENT and place != ("chicago-1km-hourly", 3, LENT)
    )
    label = {place[:2]: gained[place] - gained[*place[:2], JOINT] for place in gained if place[2] == EMBEDDED}
    assert sum(abs(gain) < 0.07 for gain in label.values()) == 7

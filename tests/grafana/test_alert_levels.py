"""The levels at which alerts open and close are those that the pages state: nobody is woken at another one."""

import re

import pytest

from tests.harness.alerting import holds
from tests.harness.pages import ALERTS, PROVISIONING, ROOT

RULES = {rule["title"]: rule for rule in ALERTS}
LEVEL = re.compile(r"(above|more than|outside|inside|below|for) ([\d.]+)(?: to ([\d.]+))?(?: (%|h\b))?")
KINDS = {"outside": "outside_range", "inside": "within_range", "below": "lt"}
UNITS = {"%": 0.01, "h": 3600, "": 1}
IN_WORDS = {"three hours": 10_800, "half of": 0.5, "a quarter more": 1.25, "a fifth fewer": 0.8}


def table():
    """(rule, opens, closes) of each row, as grafana-provisioning/README.md states it."""
    text = (PROVISIONING / "README.md").read_text(encoding="utf-8").partition("## Alerts")[2]
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    return [row for row in rows if row[0] not in ("rule", "---")]


def stated(words):
    """The evaluator that these words describe; None when they state no level."""
    if not (found := LEVEL.search(words)):
        return None
    how, *ends, unit = found.groups(default="")
    params = [float(end) * UNITS[unit] for end in ends if end]
    return {"type": KINDS.get(how, "gt"), "params": pytest.approx(params)}


def conditions_of(rule):
    (condition,) = rule["data"][-1]["model"]["conditions"]
    return condition["evaluator"], condition.get("unloadEvaluator")


def test_the_table_has_every_rule():
    assert [rule for rule, *_ in table()] == list(RULES)


@pytest.mark.parametrize("title", RULES)
def test_a_rule_opens_and_closes_at_the_levels_of_the_table(title):
    ((opens, closes),) = [levels for rule, *levels in table() if rule == title]
    evaluator, recovery = conditions_of(RULES[title])
    assert recovery == stated(closes)
    if level := stated(opens):
        assert evaluator == level
    elif title == "Scores stale":
        assert (holds(evaluator, 0), holds(evaluator, 1)) == (True, False)  # ticks of the last minutes
    else:  # `differs`, `any`: one message or point is enough
        assert (holds(evaluator, 0), holds(evaluator, 1)) == (False, True)


def levels_in(text):
    """Percentages and the other levels that a sentence states."""
    yield from (float(number) / 100 for number in re.findall(r"(\d+) %", text))
    yield from (level for words, level in IN_WORDS.items() if words in text)


@pytest.mark.parametrize("title", RULES)
def test_what_is_sent_and_the_page_for_the_person_on_call_state_the_same_levels(title):
    page = (ROOT / "docs" / "how-to" / "alerts.md").read_text(encoding="utf-8")
    section = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)[1]
    notes = RULES[title]["annotations"]
    held = [end for one in conditions_of(RULES[title]) if one for end in one["params"]]
    for text in (section, f"{notes['summary']} {notes['description']}"):
        assert all(any(level == pytest.approx(end) for end in held) for level in levels_in(" ".join(text.split())))


def test_the_pages_state_levels_that_this_finds():
    """Else the test above would hold whatever they say."""
    page = (ROOT / "docs" / "how-to" / "alerts.md").read_text(encoding="utf-8")
    assert {0.5, 0.35, 0.05, 10_800, 1.25, 0.8} <= set(levels_in(" ".join(page.split())))


@pytest.mark.parametrize(
    ("evaluator", "value", "is_met"),
    [
        ({"type": "gt", "params": [1]}, 1, False),
        ({"type": "lt", "params": [1]}, 0.9, True),
        ({"type": "within_range", "params": [1, 2]}, 2, False),
        ({"type": "outside_range", "params": [1, 2]}, 2.1, True),
        ({"type": "outside_range", "params": [1, 2]}, 2, False),
    ],
)
def test_thresholds(evaluator, value, is_met):
    assert holds(evaluator, value) == is_met

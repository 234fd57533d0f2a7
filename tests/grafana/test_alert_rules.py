"""What each alert rule says beside its query: where to look, and whom it reaches. How one is added from outside."""

import json
import re

import pytest

from generator.alerts import (
    ADDRESS,
    HOUR_S,
    Alert,
    above,
    below,
    guide,
    hours,
    inside,
    outside,
    percent,
    rules,
    runbook,
)
from generator.alerts import ALERTS as ROWS
from generator.build import page, stat
from tests.contracts.test_readme import fault_in_name, named_commands
from tests.harness.alerting import holds
from tests.harness.pages import ALERTS, PAGES, provisioned

PANELS_OF = {page["uid"]: {panel["id"]: panel for panel in page["panels"]} for page in PAGES.values()}


@pytest.mark.parametrize("rule", [pytest.param(rule, id=rule["uid"]) for rule in ALERTS])
def test_a_rule_says_what_it_means_what_to_do_and_where_to_look(rule):
    notes = rule["annotations"]
    runbook, panel = re.fullmatch(re.escape(ADDRESS) + r"/d/([\w-]+)\?viewPanel=(\d+)", notes["runbook_url"]).groups()
    section = PANELS_OF[runbook][int(panel)]
    assert section["title"] == rule["title"]
    assert "](" not in section["options"]["content"]  # Grafana does not have the other pages
    assert rule["panelId"] in PANELS_OF[rule["dashboardUid"]]
    assert "$" not in json.dumps(notes), "provisioning may take it for an environment variable"
    assert "/d/" not in "".join(notes.values()).replace(f"{ADDRESS}/d/", ""), "a link without an address"
    assert not re.search(r"\$(?!timeFilter)", rule["data"][0]["model"]["query"]), "a rule knows no variables"


def test_an_alert_waits_for_a_store_that_does_not_answer_but_stale_scores_do_not():
    assert {row.uid for row in ROWS if row.on_error == "Alerting" or row.without_rows == "Alerting"} == {
        "risk-scores-stale"
    }


def test_each_alert_goes_to_a_contact_point_that_exists():
    names = {point["name"] for point in provisioned("alerting/contact-points.yaml")["contactPoints"]}
    assert {policy["receiver"] for policy in provisioned("alerting/policies.yaml")["policies"]} == names


def test_commands_that_an_alert_names_exist():
    commands = list(named_commands(guide(ROWS)))
    assert len(commands) > 4
    assert {str(command): said for command in commands if (said := fault_in_name(*command))} == {}


ADDED = Alert(
    uid="risk-retries",
    title="Many retries",
    severity="warning",
    panel=("risk-added", "Retries"),
    query='SELECT max("write_retries") AS "retries"\n FROM "pipeline" WHERE $timeFilter',
    measure="retries",
    opens=above(100),
    closes=below(50),
    summary="The store is slow",
    means="Scores come late.",
    to_do="Look at the [store](store.md).",
)


def test_a_row_from_outside_becomes_a_rule_a_panel_of_the_runbook_and_a_section_of_the_page():
    added = page("risk-added", "Added", "x", [stat("Retries", "x", (4, 4), ADDED.query, "none", without="STALE")], [])
    book = runbook([ADDED])
    (rule,) = rules([ADDED], [added, book])["groups"][0]["rules"]
    (panel,), (section,) = added["panels"], book["panels"]
    assert (
        rule["data"][0]["model"]["query"]
        == 'SELECT max("write_retries") AS "retries" FROM "pipeline" WHERE $timeFilter'
    )
    assert rule["data"][2]["model"]["conditions"] == [
        {"evaluator": {"type": "gt", "params": [100]}, "unloadEvaluator": {"type": "lt", "params": [50]}}
    ]
    assert (rule["panelId"], rule["annotations"]["description"]) == (
        panel["id"],
        "Scores come late. Opens: retries above 100. Closes: below 50.",
    )
    assert rule["annotations"]["runbook_url"].endswith(f"/d/{book['uid']}?viewPanel={section['id']}")
    assert section["options"]["content"] == "*Opens: retries above 100. Closes: below 50.*\n\nLook at the store."
    assert guide([ADDED]) == (
        "## Many retries\n\n*Opens: retries above 100. Closes: below 50.*\n\nLook at the [store](store.md)."
    )


def test_an_alert_on_a_panel_that_no_page_has_is_refused():
    with pytest.raises(KeyError, match="Retries"):
        rules([ADDED], PAGES.values())


@pytest.mark.parametrize(
    ("level", "words", "met", "not_met"),
    [
        (above(0.05, percent), "above 5 %", [0.051], [0.05, 0]),
        (below(3 * HOUR_S, hours), "below 3 h", [10_799], [10_800]),
        (outside(0.8, 1.25), "outside 0.8 to 1.25", [0.79, 1.26], [0.8, 1, 1.25]),
        (inside(0.87, 1.15), "inside 0.87 to 1.15", [1], [0.87, 1.15]),
        (above(0, said="any"), "any", [1], [0]),
    ],
)
def test_a_level_says_where_it_lies(level, words, met, not_met):
    assert level.words == words
    assert all(holds(level.evaluator(), value) for value in met)
    assert not any(holds(level.evaluator(), value) for value in not_met)

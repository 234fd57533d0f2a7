"""What each alert rule says beside its levels: where to look, how long it waits, and whom it reaches."""

import json
import re

import pytest

from tests.harness.pages import ALERTS, PAGES, provisioned

ADDRESS = '{{ reReplaceAll "/\\\\z" "" externalURL }}'  # Grafana's, without a slash at its end


@pytest.mark.parametrize("rule", [pytest.param(rule, id=rule["uid"]) for rule in ALERTS])
def test_a_rule_says_what_it_means_what_to_do_and_where_to_look(rule):
    link = re.escape(ADDRESS) + r"/d/risk-runbook\?viewPanel=(\d+)"
    runbook_panel = re.fullmatch(link, rule["annotations"]["runbook_url"])[1]
    (section,) = (panel for panel in PAGES["runbook"]["panels"] if panel["id"] == int(runbook_panel))
    assert "](" not in section["options"]["content"]  # Grafana does not have the other pages
    assert section["title"] == rule["title"]
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]
    assert "$" not in json.dumps(rule["annotations"]), "provisioning may take it for an environment variable"
    assert "/d/" not in "".join(rule["annotations"].values()).replace(f"{ADDRESS}/d/", ""), "a link without an address"
    page = next(page for page in PAGES.values() if page["uid"] == rule["dashboardUid"])
    assert rule["panelId"] in {panel["id"] for panel in page["panels"]}
    assert rule["execErrState"] == ("Alerting" if rule["uid"] == "risk-scores-stale" else "KeepLast")
    assert not re.search(r"\$(?!timeFilter)", rule["data"][0]["model"]["query"]), "a rule knows no variables"


WRITTEN = {  # uid: (`for`, what no row at all means, evaluations until an alert without a series ends, its panel)
    "risk-cell-high": ("2m", "KeepLast", 3, "Where incidents are likely: $category, next $horizon"),
    "risk-scores-stale": ("0s", "Alerting", 3, "Freshness of each region"),
    "risk-feed-silent": ("5m", "KeepLast", 1440, "Silence of the feed"),
    "risk-ledger-unbalanced": ("0s", "KeepLast", 1440, "Ledger gap"),
    "risk-unaccounted": ("0s", "KeepLast", 1440, "Unaccounted for"),
    "risk-rejects": ("5m", "KeepLast", 1440, "Refused, by reason"),
    "risk-rejects-small": ("5m", "KeepLast", 1440, "Refused, by reason"),
    "risk-rejects-unassigned": ("5m", "KeepLast", 1440, "Refused, by reason"),
    "risk-calibration": ("1h", "OK", 10, "Seen over expected"),
    "risk-baseline-only": ("5m", "KeepLast", 1440, "Freshness of each region"),
    "risk-points-dropped": ("0s", "KeepLast", 1440, "Points dropped"),
    "risk-trial-decided": ("1h", "OK", 10, "The gate says"),
    "risk-drift": ("1h", "OK", 10, "Seen over expected, of the version that scores"),
    "risk-challenger-made": ("0s", "OK", 10, "The gate says"),
    "risk-retraining-overdue": ("0s", "OK", 1440, "The gate says"),
    "risk-covariates-missing": ("30m", "OK", 1440, "Freshness of each region"),
}


def test_how_long_each_rule_waits_and_holds_and_which_panel_it_leads_to():
    pages = {page["uid"]: {panel["id"]: panel["title"] for panel in page["panels"]} for page in PAGES.values()}
    names = ("for", "noDataState", "missing_series_evals_to_resolve")
    found = {
        rule["uid"]: (*(rule[name] for name in names), pages[rule["dashboardUid"]][rule["panelId"]]) for rule in ALERTS
    }
    assert found == WRITTEN
    assert provisioned("alerting/rules.yaml")["groups"][0]["interval"] == "1m"


def test_each_alert_goes_to_a_contact_point_that_exists():
    names = {point["name"] for point in provisioned("alerting/contact-points.yaml")["contactPoints"]}
    assert {policy["receiver"] for policy in provisioned("alerting/policies.yaml")["policies"]} == names

"""Grafana's pages, their panels and its alert rules, as the files that it reads."""

import json
from pathlib import Path

import yaml

from generator.__main__ import provisioning

ROOT = Path(__file__).parents[2]
FILES = provisioning()
RULES = "alerting/rules.json"
PAGES = {Path(name).stem: json.loads(text) for name, text in FILES.items() if name.endswith(".json") and name != RULES}
PANELS = {f"{name}: {panel['title']}": panel for name, page in PAGES.items() for panel in page["panels"]}
MAP = next(panel for panel in PAGES["live-map"]["panels"] if panel["type"] == "geomap")


def provisioned(name):
    """What a file in YAML, or in JSON, holds. name: its path in the folder."""
    return yaml.safe_load(FILES[name])


ALERTS = [rule for group in provisioned(RULES)["groups"] for rule in group["rules"]]


def said(panel, value):
    """What a stat shows in place of a value, and its colour, by Grafana's rules; None for the value itself."""
    defaults = panel["fieldConfig"]["defaults"]
    for mapping in defaults["mappings"]:
        options = mapping["options"]
        if mapping["type"] == "special" and value is None and options["match"] == "null+nan":
            return options["result"]["text"], options["result"]["color"]
        if mapping["type"] == "range" and value is not None:
            low, high = (options[end] if options[end] is not None else at for end, at in (("from", -1e9), ("to", 1e9)))
            if low <= value <= high:
                return options["result"]["text"], options["result"]["color"]
    return None

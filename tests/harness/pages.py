"""Grafana's pages, their panels and its alert rules, as the files that it reads."""

import json
from pathlib import Path

import yaml

from generator.files import provisioning

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

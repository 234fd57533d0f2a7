"""Grafana's pages, their panels and its alert rules, as the files that it reads."""

import json
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
PROVISIONING = ROOT / "grafana-provisioning"
DASHBOARDS = PROVISIONING / "dashboards"
TEMPLATES = PROVISIONING / "templates"
PAGES = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for folder in (DASHBOARDS, TEMPLATES)
    for path in sorted(folder.glob("*.json"))
}
PANELS = {f"{name}:{panel['id']}:{panel['title']}": panel for name, page in PAGES.items() for panel in page["panels"]}
MAP = next(panel for panel in PAGES["live-map"]["panels"] if panel["type"] == "geomap")


def provisioned(name):
    """What a file of `grafana-provisioning/` in YAML holds. name: its path there."""
    return yaml.safe_load((PROVISIONING / name).read_text(encoding="utf-8"))


ALERTS = [rule for group in provisioned("alerting/rules.yaml")["groups"] for rule in group["rules"]]

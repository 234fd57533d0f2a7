"""Every generated file: dashboards and the sketches of their layout."""

import json
from collections.abc import Iterator
from pathlib import Path

from tests.grafana.pages.cell import cell
from tests.grafana.pages.helps import helps
from tests.grafana.pages.live import live
from tests.grafana.pages.pipeline import pipeline
from tests.grafana.pages.runbook import runbook
from tests.grafana.pages.sketch import sketch
from tests.grafana.pages.trends import trends

ROOT = Path(__file__).parents[3]
PROVISIONING = ROOT / "grafana-provisioning"
DASHBOARDS = PROVISIONING / "dashboards"
TEMPLATES = PROVISIONING / "templates"  # `cells` completes these and writes them where Grafana looks
SKETCHES = ROOT / "docs" / "dashboards"

BUILDERS = {
    "live-map": live,
    "cell": cell,
    "trends": trends,
    "does-it-help": helps,
    "pipeline": pipeline,
    "runbook": runbook,
}


def generated() -> Iterator[tuple[Path, str]]:
    """(path, content) of each file."""
    for name, build in BUILDERS.items():
        dashboard = build()
        folder = TEMPLATES if name == "live-map" else DASHBOARDS
        yield folder / f"{name}.json", json.dumps(dashboard, indent=2, ensure_ascii=False) + "\n"
        yield SKETCHES / f"{name}.svg", sketch(dashboard)

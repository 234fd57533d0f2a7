"""Every generated file: the dashboards."""

import json
from collections.abc import Iterator
from pathlib import Path

from generator.cell import cell
from generator.helps import helps
from generator.live import live
from generator.model import model
from generator.pipeline import pipeline
from generator.runbook import runbook
from generator.trends import trends

PROVISIONING = Path(__file__).parents[1]
DASHBOARDS = PROVISIONING / "dashboards"
TEMPLATES = PROVISIONING / "templates"  # `cells` completes these and writes them where Grafana looks

BUILDERS = {
    "live-map": live,
    "cell": cell,
    "trends": trends,
    "does-it-help": helps,
    "model": model,
    "pipeline": pipeline,
    "runbook": runbook,
}


def generated() -> Iterator[tuple[Path, str]]:
    """(path, content) of each file."""
    for name, build in BUILDERS.items():
        dashboard = build()
        folder = TEMPLATES if name == "live-map" else DASHBOARDS
        yield folder / f"{name}.json", json.dumps(dashboard, indent=2, ensure_ascii=False) + "\n"

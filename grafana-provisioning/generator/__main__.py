"""`python -m generator FOLDER`: writes the folder that Grafana reads."""

import json
import sys
from pathlib import Path

from generator.alerts import ALERTS, rules, runbook
from generator.analysis import helps, trends
from generator.build import Json
from generator.dispatch import cell, live
from generator.model import model
from generator.pipeline import pipeline
from schemas.errors import errors_in_one_line

PROVISIONING = Path(__file__).parents[1]
LIVE_MAP = "live-map.json"  # `cells` completes it, and writes it where Grafana looks

PAGES = {
    LIVE_MAP: live,
    "dashboards/dispatch/cell.json": cell,
    "dashboards/analysis/trends.json": trends,
    "dashboards/analysis/does-it-help.json": helps,
    "dashboards/analysis/model.json": model,
    "dashboards/operations/pipeline.json": pipeline,
}


def provisioning() -> dict[str, bytes]:
    """Path in the folder -> its content: pages and rules, beside the settings in YAML."""
    pages = {name: build() for name, build in PAGES.items()}
    pages["dashboards/operations/runbook.json"] = runbook(ALERTS)
    made: dict[str, Json] = {**pages, "alerting/rules.json": rules(ALERTS, pages.values())}
    settings = {str(path.relative_to(PROVISIONING)): path.read_bytes() for path in sorted(PROVISIONING.rglob("*.yaml"))}
    return {**settings, **{name: json.dumps(content, ensure_ascii=False).encode() for name, content in made.items()}}


def write(folder: Path) -> None:
    """Write the whole folder; a page that an older version has left there goes, any other file stays."""
    files = provisioning()
    for old in (folder / "dashboards").rglob("*.json"):
        if str(old.relative_to(folder)) not in files:
            old.unlink()
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


if __name__ == "__main__":
    with errors_in_one_line():
        write(Path(sys.argv[1]))

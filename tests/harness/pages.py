"""The pages of Grafana, as the files that it reads."""

import json
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROVISIONING = ROOT / "grafana-provisioning"
DASHBOARDS = PROVISIONING / "dashboards"
TEMPLATES = PROVISIONING / "templates"
PAGES = {
    path.stem: json.loads(path.read_text(encoding="utf-8"))
    for folder in (DASHBOARDS, TEMPLATES)
    for path in sorted(folder.glob("*.json"))
}

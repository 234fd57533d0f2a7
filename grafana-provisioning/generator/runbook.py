"""When an alert fires: docs/how-to/alerts.md as a page, so that an alert's link leads to it."""

import re
from pathlib import Path

from generator.panels import Json, dashboard, text

UID = "risk-runbook"
GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "alerts.md"
_SECTION = re.compile(r"^## (.+?)\n(.+?)(?=^#|\Z)", re.MULTILINE | re.DOTALL)


def runbook() -> Json:
    sections = _SECTION.findall(GUIDE.read_text(encoding="utf-8"))
    panels = [
        text(name, " ".join(words.split()), (12 * (i % 2), 5 * (i // 2), 12, 5))
        for i, (name, words) in enumerate(sections)
    ]
    return dashboard(UID, "When an alert fires", "What each alert means, and what to do.", panels, [])

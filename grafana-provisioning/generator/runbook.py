"""When an alert fires: docs/how-to/alerts.md as a page, so that an alert's link leads to it."""

import math
import re
from pathlib import Path

from generator.panels import Json, dashboard, text

UID = "risk-runbook"
GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "alerts.md"
_SECTION = re.compile(r"^## (.+?)\n(.+?)(?=^#|\Z)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[([^\]]+)\]\([^)]+\)")  # to other pages, which Grafana does not have
# On a screen of 1280 pixels, Grafana's least wide grid: characters in a line of half of it, and pixels.
_CHARACTERS, _LINE_PX, _FRAME_PX, _ROW_PX = 72, 22, 72, 38


def runbook() -> Json:
    guide = _LINK.sub(r"\1", GUIDE.read_text(encoding="utf-8"))
    sections = [(name, " ".join(words.split())) for name, words in _SECTION.findall(guide)]
    panels, y = [], 0
    for pair in (sections[i : i + 2] for i in range(0, len(sections), 2)):
        height = max(_rows(words) for _, words in pair)
        panels += [text(name, words, (12 * i, y, 12, height)) for i, (name, words) in enumerate(pair)]
        y += height
    return dashboard(UID, "When an alert fires", "What each alert means, and what to do.", panels, [])


def _rows(words: str) -> int:
    """Rows of the grid that the words need."""
    return math.ceil((_FRAME_PX + _LINE_PX * math.ceil(len(words) / _CHARACTERS)) / _ROW_PX)

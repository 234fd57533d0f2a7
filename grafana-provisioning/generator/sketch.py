"""A dashboard's layout as SVG: the panels' boxes and titles. It is no picture of Grafana."""

from html import escape
from textwrap import wrap

from generator.panels import Json

COLUMN, ROW, GAP, MARGIN = 40, 22, 3, 12  # pixels
HEAD = 56
FILLS = {"geomap": "#D9E8F3", "text": "#FBF3E0", "stat": "#EAF0E9", "table": "#F0ECF5", "bargauge": "#F5ECEC"}


def sketch(dashboard: Json) -> str:
    """SVG text. Every panel is a box at its place with its title and kind."""
    bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"])
    width, height = 24 * COLUMN + 2 * MARGIN, bottom * ROW + HEAD + MARGIN
    names = ", ".join(one["label"] for one in dashboard["templating"]["list"] if one.get("hide") != 2)
    note = f"Layout only. To choose from: {names}" if names else "Layout only."
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif">',
        f'<rect width="{width}" height="{height}" fill="#FFFFFF"/>',
        f'<text x="{MARGIN}" y="24" font-size="18" font-weight="bold">{escape(dashboard["title"])}</text>',
        f'<text x="{MARGIN}" y="44" font-size="12" fill="#555555">{escape(note)}</text>',
    ]
    for panel in dashboard["panels"]:
        parts += _box(panel)
    return "\n".join([*parts, "</svg>", ""])


def _box(panel: Json) -> list[str]:
    place = panel["gridPos"]
    x, y = MARGIN + place["x"] * COLUMN, HEAD + place["y"] * ROW
    width, height = place["w"] * COLUMN - GAP, place["h"] * ROW - GAP
    title = wrap(panel["title"], width=max(8, width // 8))
    lines = [
        f'<text x="{x + 8}" y="{y + 18 + 16 * i}" font-size="13">{escape(line)}</text>' for i, line in enumerate(title)
    ]
    return [
        f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="3" fill="{FILLS.get(panel["type"], "#F2F2F2")}" '
        'stroke="#8E8E8E"/>',
        *lines,
        f'<text x="{x + 8}" y="{y + height - 8}" font-size="11" fill="#555555">{panel["type"]}</text>',
    ]

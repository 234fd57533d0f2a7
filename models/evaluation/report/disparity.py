"""How groups are served, in texts, for programs, as a page and as a picture."""

import base64
import csv
from collections.abc import Callable, Sequence
from io import StringIO
from itertools import groupby

import msgspec
import numpy as np
from matplotlib.axes import Axes

from models.evaluation.disparity.measure import Figures, Ratio, Row
from models.evaluation.report.drawing.style import INK, canvas, grid_lines, styled
from models.evaluation.report.page import png_of, template_of
from schemas.spec import ALL_CATEGORIES

_COLUMNS: dict[str, Callable[[Figures], str]] = {
    "exposure": lambda figures: _interval(figures.exposure),
    "came": lambda figures: f"{figures.incidents.value:.2f}",
    "came / expected": lambda figures: _interval(figures.observed_over_expected),
    "missed, %": lambda figures: f"{100 * figures.missed.value:.1f}",
    "false, %": lambda figures: f"{100 * figures.false_alarms.value:.1f}",
    "stay, h": lambda figures: f"{figures.longest_stay_h:.0f}",
    "spread": lambda figures: f"{figures.effective_cells:.1f}",
    "-20 %": lambda figures: f"{figures.exposure_less:.2f}",
    "+20 %": lambda figures: f"{figures.exposure_more:.2f}",
}
HEADINGS = ("group", "cells", *_COLUMNS, "forecast")
NARROW = ("cells", "false, %", "spread")  # what a terminal has no room for
MEANING = (
    "exposure: the group's share of the cells that are put first, over its share of all cells, or of the people; "
    "came: its share of the incidents, over the same. An exposure beyond it is attention beyond what was reported.",
    "came / expected: above 1 the forecast is too low there; missed: its incidents outside of the top; false: its "
    "area that was in the top and had no incident; stay: the longest of one cell in the top, without a break.",
    "spread: as many cells that stand in the top equally often have its time there; -20 %, +20 %: its exposure if it "
    "alone reported so much less or more, as the forecast is in proportion to what was reported.",
    "Intervals: 95 %, by blocks of three days. A group of fewer than 100 incidents or 5 cells is too few, and is no "
    "part of any share. Reported incidents are not what happened: a group that reports less looks quieter here, too.",
)


def _interval(ratio: Ratio) -> str:
    return f"{ratio.value:.2f} {ratio.low:.2f}–{ratio.high:.2f}"


def tables_of(rows: Sequence[Row]) -> list[tuple[str, list[tuple[str, ...]]]]:
    """For each horizon and category its heading, and the texts of its rows."""
    named = groupby(rows, key=lambda row: f"{row.horizon}, {_in_words(row.category)}")
    return [(heading, [_texts(row) for row in of_heading]) for heading, of_heading in named]


def _in_words(category: str) -> str:
    return "all categories" if category == ALL_CATEGORIES else category


def _texts(row: Row) -> tuple[str, ...]:
    figures = row.figures
    texts = ["" if figures is None else text(figures) for text in _COLUMNS.values()]
    return (row.group, str(row.cells), *texts, row.verdict)


def files_of(rows: Sequence[Row], sentences: Sequence[str]) -> dict[str, bytes]:
    """disparity.csv, disparity.json and index.html, by name."""
    return {
        "disparity.csv": _csv(rows),
        "disparity.json": msgspec.json.format(msgspec.json.encode({"about": sentences, "rows": rows}), indent=1)
        + b"\n",
        "index.html": _page(rows, sentences).encode(),
    }


def _csv(rows: Sequence[Row]) -> bytes:
    """A column for each figure, and two for the ends of its interval; nothing where a group is too few."""
    lines = []
    for row in rows:
        plain = {name: getattr(row, name) for name in ("group", "category", "horizon", "cells", "verdict")}
        for name in Figures.__struct_fields__ if row.figures else ():
            value = getattr(row.figures, name)
            ends = {f"{name}_low": value.low, f"{name}_high": value.high} if isinstance(value, Ratio) else {}
            plain |= {name: value.value if ends else value, **ends}
        lines.append(plain)
    file = StringIO(newline="")
    writer = csv.DictWriter(file, max((list(line) for line in lines), key=len))
    writer.writeheader()
    writer.writerows(lines)
    return file.getvalue().encode()


def _page(rows: Sequence[Row], sentences: Sequence[str]) -> str:
    template, policy = template_of("disparity.html.j2")
    picture = base64.b64encode(picture_of(rows)).decode()
    return template.render(
        policy=policy, sentences=sentences, picture=picture, tables=tables_of(rows), headings=HEADINGS, meaning=MEANING
    )


def picture_of(rows: Sequence[Row]) -> bytes:
    """A PNG of the longest horizon's rows of all categories: what each group has of the top, and of what came."""
    shown = [row for row in rows if (row.category, row.horizon) == (rows[0].category, rows[-1].horizon)]
    names = [row.group if row.figures else f"{row.group}: {row.verdict}" for row in shown]
    with styled():
        figure = canvas(1.4 + 0.45 * len(shown))
        left, right = figure.subplots(1, 2, sharey=True)
        _panel(left, shown, "exposure", f"Exposure, {shown[0].horizon}; x: incidents")
        left.plot(
            [row.figures.incidents.value if row.figures else np.nan for row in shown], range(len(shown)), "x", color=INK
        )
        _panel(right, shown, "observed_over_expected", "Observed over expected")
        left.set_yticks(range(len(shown)), names)
        left.set_ylim(len(shown) - 0.5, -0.5)
    return png_of(figure)


def _panel(axes: Axes, rows: Sequence[Row], name: str, title: str) -> None:
    axes.axvline(1, color=INK, linewidth=1.2)
    for place, row in enumerate(rows):
        if row.figures:
            ratio: Ratio = getattr(row.figures, name)
            axes.plot((ratio.low, ratio.high), (place, place), color="C0", linewidth=2.2)
            axes.plot(ratio.value, place, "o", color="C0", markersize=7)
    axes.set_title(title)
    grid_lines(axes, "x")

"""How groups are served, in texts, for programs, as a page and as a picture."""

import base64
import csv
from collections.abc import Callable, Sequence
from io import StringIO
from itertools import groupby

import msgspec
import numpy as np
from matplotlib.axes import Axes

from models.evaluation.disparity.measure import Figures, GroupRow, Ratio
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
    "still, %": lambda figures: _percent(figures.still_in_top),
    "usual, %": lambda figures: _percent(figures.also_usual),
    "-20 %": lambda figures: f"{figures.exposure_less:.2f}",
    "+20 %": lambda figures: f"{figures.exposure_more:.2f}",
}
HEADINGS = ("group", "cells", *_COLUMNS, "forecast")
NARROW = ("cells", "false, %", "spread", "still, %", "usual, %")  # what a terminal has no room for
MEANING = (
    "exposure: the group's share of the cells that are put first, over its share of all cells, or of the people; "
    "came: its share of the incidents, over the same. Also a right forecast makes exposure less equal than incidents.",
    "came / expected: above 1 the forecast is too low there; missed: its incidents outside of the top; false: its "
    "area that was in the top and had no incident; stay: the longest of one cell in the top, without a break.",
    "spread: as many cells that stand in the top equally often have its time there; still: its cells in the top that "
    "were there a day before, too; usual: those that are there by what is usual alone, without the network.",
    "-20 %, +20 %: its exposure if it alone reported so much less or more, as the forecast is in proportion to what "
    "was reported.",
    "forecast: whether what came fits what was expected there, not whether groups are served alike.",
    "Intervals: 95 %, by blocks of three days, from ten of them on. A group of fewer than 100 incidents or 5 cells is "
    "too few, and no part of any share. A group that reports less than what happens looks quieter here, too.",
)


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.0f}"


def _interval(ratio: Ratio) -> str:
    return f"{ratio.value:.2f}" + (f" {ratio.low:.2f}–{ratio.high:.2f}" if ratio.low is not None else "")


def tables_of(rows: Sequence[GroupRow]) -> list[tuple[str, list[tuple[str, ...]]]]:
    """For each horizon and category its heading, and the texts of its rows."""
    named = groupby(rows, key=lambda row: f"{row.horizon}, {row.category.replace(ALL_CATEGORIES, 'all categories')}")
    return [(heading, [_texts(row) for row in of_heading]) for heading, of_heading in named]


def _texts(row: GroupRow) -> tuple[str, ...]:
    texts = (text(row.figures) if row.figures else "" for text in _COLUMNS.values())
    return (row.group, str(row.cells), *texts, row.verdict)


def files_of(rows: Sequence[GroupRow], sentences: Sequence[str]) -> dict[str, bytes]:
    """disparity.csv, disparity.json, index.html, and summary.md for the drafts that officials complete, by name."""
    flat, table = [_flat(row) for row in rows], StringIO(newline="")
    writer = csv.DictWriter(table, max((list(line) for line in flat), key=len))
    writer.writeheader()
    writer.writerows(flat)
    template, policy = template_of("disparity.html.j2")
    page = template.render(
        policy=policy,
        sentences=sentences,
        picture=base64.b64encode(picture_of(rows)).decode(),
        tables=tables_of(rows),
        headings=HEADINGS,
        meaning=MEANING,
    )
    content = msgspec.json.format(msgspec.json.encode({"about": sentences, "rows": flat}), indent=1)
    return {
        "disparity.csv": table.getvalue().encode(),
        "disparity.json": content,
        "index.html": page.encode(),
        "summary.md": summary_of(rows, sentences).encode(),
    }


def summary_of(rows: Sequence[GroupRow], sentences: Sequence[str]) -> str:
    """Markdown of all categories together, to be copied into a model card or an impact assessment."""
    parts = ["# Are the groups served alike?", *sentences]
    for heading, texts in tables_of([row for row in rows if row.category == rows[0].category]):
        names = [(text[0].replace("|", r"\|"), *text[1:]) for text in texts]
        lines = [HEADINGS, ("---",) * len(HEADINGS), *names]
        parts += [f"## {heading}", "\n".join(f"| {' | '.join(line)} |" for line in lines)]
    return "\n\n".join([*parts, *(f"- {meaning}" for meaning in MEANING)]) + "\n"


def _flat(row: GroupRow) -> dict[str, object]:
    """Each figure by its name, with the ends of its interval; none of a group that is too few."""
    flat = msgspec.structs.asdict(row)
    figures = flat.pop("figures")
    for name, figure in msgspec.structs.asdict(figures).items() if figures else ():
        if isinstance(figure, Ratio):
            flat |= {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}
        else:
            flat[name] = figure
    return flat


def picture_of(rows: Sequence[GroupRow]) -> bytes:
    """A PNG of the longest horizon's rows of all categories: what each group has of the top, and of what came."""
    shown = [row for row in rows if (row.category, row.horizon) == (rows[0].category, rows[-1].horizon)]
    names = [row.group if row.figures else f"{row.group}: {row.verdict}" for row in shown]
    with styled():
        figure = canvas(1.4 + 0.45 * len(shown))
        left, right = figure.subplots(1, 2, sharey=True)
        _panel(left, shown, "exposure", f"Exposure, {shown[0].horizon}; x: incidents")
        incidents = [row.figures.incidents.value if row.figures else np.nan for row in shown]
        left.plot(incidents, range(len(shown)), "x", color=INK)
        _panel(right, shown, "observed_over_expected", "Observed over expected")
        left.set_yticks(range(len(shown)), names)
        left.set_ylim(len(shown) - 0.5, -0.5)
    return png_of(figure)


def _panel(axes: Axes, rows: Sequence[GroupRow], name: str, title: str) -> None:
    axes.axvline(1, color=INK, linewidth=1.2)
    for place, row in enumerate(rows):
        if row.figures:
            ratio: Ratio = getattr(row.figures, name)
            if ratio.low is not None and ratio.high is not None:
                axes.plot((ratio.low, ratio.high), (place, place), color="C0", linewidth=2.2)
            axes.plot(ratio.value, place, "o", color="C0", markersize=7)
    axes.set_title(title)
    grid_lines(axes, "x")

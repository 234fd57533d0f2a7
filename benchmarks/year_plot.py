"""The picture of a simulated year: what forecasts lose, observed over expected, and what happened to the models."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from schemas.limits import DRIFT_BAND

_CHAMPION, _CHALLENGER, _BASELINE, _CHANGE, _SEEN = "#0072b2", "#d55e00", "#999999", "#cc79a7", "#009e73"
_STYLE: Any = {"font.size": 9, "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False}
_TITLES = {"moved": "a region that changes", "quiet": "a region that does not"}
_ROWS = ("a challenger is due", "refused before a trial", "on trial", "promoted", "the bad challenger")
_MARKS: Mapping[str, tuple[int, Mapping[str, Any]]] = {  # row, and how it is drawn
    "due": (0, {"marker": "|", "markersize": 10, "color": "black"}),
    "refused": (1, {"marker": "x", "markersize": 6, "color": "black"}),
    "promote": (3, {"marker": "^", "markersize": 8, "color": _SEEN}),
    "stop": (2, {"marker": "X", "markersize": 8, "color": "black"}),
    "undecided": (2, {"marker": "s", "markersize": 6, "color": "black"}),
}


def write_plot(results: Mapping[str, Any], path: Path) -> None:
    """A column for each region: losses, observed over expected, and what happened."""
    with plt.rc_context(_STYLE):
        regions = results["regions"]
        figure, axes = plt.subplots(
            3,
            len(regions),
            figsize=(12, 8.2),
            height_ratios=(3, 2.2, 1.4),
            layout="constrained",
            sharex=True,
            sharey="row",
            squeeze=False,
        )
        for column, (name, region) in enumerate(regions.items()):
            losses, ratio, events = axes[:, column]
            losses.set_title(_TITLES[name], loc="left", pad=16)
            _losses(losses, region)
            _ratio(ratio, region)
            _events(events, region, results["days"])
            _circle(axes[:, column], region)
            events.set_xlabel("day of the year")
        axes[0, 0].set_ylabel("lost, nats an incident\n(0: the known process itself)")
        axes[1, 0].set_ylabel("observed over expected,\nall categories")
        legend: dict[str, Any] = {}
        for panel in axes.flat:
            handles, labels = panel.get_legend_handles_labels()
            legend |= dict(zip(labels, handles, strict=True))
        figure.legend(list(legend.values()), list(legend), loc="outside lower center", ncols=4, frameon=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=100)
        plt.close(figure)


def _column(region: Mapping[str, Any], name: str) -> np.ndarray[Any, Any]:
    return np.array([np.nan if week[name] is None else week[name] for week in region["weeks"]], np.float64)


def _losses(panel: Axes, region: Mapping[str, Any]) -> None:
    day = _column(region, "day") + 3.5
    panel.plot(day, _column(region, "baseline"), color=_BASELINE, linewidth=1.2, label="champion's baseline")
    panel.plot(day, _column(region, "alone"), color=_CHAMPION, linewidth=1.2, linestyle=":", label="its network alone")
    panel.plot(day, _column(region, "champion"), color=_CHAMPION, linewidth=2, label="champion, following")
    panel.plot(day, _column(region, "challenger"), color=_CHALLENGER, linewidth=1.4, marker="o", markersize=4,
               label="challenger on trial")  # fmt: skip
    panel.axhline(0, color="black", linewidth=0.6)


def _ratio(panel: Axes, region: Mapping[str, Any]) -> None:
    day = _column(region, "day")
    panel.axhspan(*DRIFT_BAND, color="#eeeeee", zorder=0, label="allowed")
    low, high = _column(region, "low"), _column(region, "high")
    panel.fill_between(
        day + 7, low, high, color=_CHAMPION, alpha=0.22, linewidth=0, label="bounds of the drift trigger"
    )
    panel.plot(day + 3.5, _column(region, "observed_over_expected"), color=_CHAMPION, marker=".", linestyle="none",
               label="its network alone, one week")  # fmt: skip


def _events(panel: Axes, region: Mapping[str, Any], days: int) -> None:
    """A row for each kind of event. A trial is a bar, also one that the year's end cuts off."""
    start = None
    for happening in region["happenings"]:
        bad = _ROWS.index("the bad challenger")
        if happening["what"] == "trial":
            start = happening["day"]
            continue
        row, style = _MARKS[happening["what"]]
        if happening["what"] not in ("due", "refused"):
            _trial(panel, bad if happening["is_bad"] else 2, start, happening["day"])
            start = None
        panel.plot(happening["day"], bad if happening["is_bad"] else row, linestyle="none", **style)
    if start is not None:
        _trial(panel, 2, start, days)
    panel.set_yticks(range(len(_ROWS)), _ROWS)
    panel.set_ylim(len(_ROWS) - 0.5, -0.5)
    panel.set_xlim(0, days)
    panel.tick_params(axis="y", length=0)


def _trial(panel: Axes, row: int, start: int, end: int) -> None:
    panel.barh(row, end - start, left=start, height=0.45, color=_CHALLENGER, alpha=0.6)


def _circle(panels: Any, region: Mapping[str, Any]) -> None:
    """The circle's steps as numbered lines through all panels of a region that changes."""
    summary = region["summary"]
    steps = (
        (region["change_day"], _CHANGE, ":", "1: level and hours change"),
        (summary.get("drift_seen_day"), _SEEN, "--", "2: drift is seen"),
        (summary.get("promoted_day"), "black", "-.", "3: the first challenger that knows of it is promoted"),
    )
    for day, color, line, words in steps:
        if day is None:
            continue
        for panel in panels:
            panel.axvline(day, color=color, linewidth=1.3, linestyle=line, label=words)
        panels[0].annotate(
            words[0], (day, 1), (0, 3), xycoords=("data", "axes fraction"), textcoords="offset points", ha="center"
        )

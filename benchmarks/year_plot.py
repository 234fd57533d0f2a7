"""The picture of a simulated year: for each region what its forecasts lose, and observed over expected."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from models.gate.triggers import DRIFT

_CHAMPION, _CHALLENGER, _BASELINE, _CHANGE, _SEEN = "#0072b2", "#d55e00", "#999999", "#cc79a7", "#009e73"
_STYLE: Any = {"font.size": 9, "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False}
_TITLES = {"moved": "a region that changes", "quiet": "a region that does not"}
_ENDS = {"promote": ("^", "promoted"), "stop": ("X", "stopped"), "undecided": ("s", "undecided, champion stays")}


def write_plot(results: Mapping[str, Any], path: Path) -> None:
    """A column for each region: losses above, observed over expected below."""
    with plt.rc_context(_STYLE):
        regions = results["regions"]
        figure, axes = plt.subplots(
            2, len(regions), figsize=(12, 6.6), layout="constrained", sharex=True, sharey="row", squeeze=False
        )
        for column, (name, region) in enumerate(regions.items()):
            above, below = axes[:, column]
            above.set_title(_TITLES[name], loc="left")
            _losses(above, region)
            _ratio(below, region)
            for panel in (above, below):
                panel.set_xlim(0, results["days"])
                if region["change_day"] is not None:
                    panel.axvline(region["change_day"], color=_CHANGE, linewidth=1.4, linestyle=":",
                                  label="level and hours change")  # fmt: skip
            below.set_xlabel("day of the year")
        axes[0, 0].set_ylabel("lost, nats an incident\n(0: the known process itself)")
        axes[1, 0].set_ylabel("observed over expected")
        known: dict[str, Any] = {}
        for panel in axes.flat:
            handles, labels = panel.get_legend_handles_labels()
            known |= dict(zip(labels, handles, strict=True))
        figure.legend(list(known.values()), list(known), loc="outside lower center", ncols=5, frameon=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=100)
        plt.close(figure)


def _column(region: Mapping[str, Any], name: str) -> np.ndarray[Any, Any]:
    return np.array([np.nan if week[name] is None else week[name] for week in region["weeks"]], np.float64)


def _losses(panel: Axes, region: Mapping[str, Any]) -> None:
    day = _column(region, "day") + 3.5
    panel.plot(day, _column(region, "baseline"), color=_BASELINE, linewidth=1.2, label="champion's baseline")
    panel.plot(day, _column(region, "challenger"), color=_CHALLENGER, linewidth=1.4, marker="o", markersize=4,
               label="challenger, while it is tried")  # fmt: skip
    panel.plot(day, _column(region, "champion"), color=_CHAMPION, linewidth=2, label="champion")
    top, start = panel.get_ylim()[1], None
    for one in region["happenings"]:
        if one["what"] == "trial":
            start = one["day"]
        elif one["what"] == "refused":
            panel.plot(one["day"], -0.02, marker="x", color="black", linestyle="none", label="refused before a trial")
        elif one["what"] in _ENDS and start is not None:
            panel.axvspan(start, one["day"], color=_CHALLENGER, alpha=0.10, linewidth=0, label="a trial")
            marker, words = _ENDS[one["what"]]
            panel.plot(one["day"], -0.02, marker=marker, markersize=7, color=_SEEN if marker == "^" else "black",
                       linestyle="none", label=words)  # fmt: skip
    panel.set_ylim(-0.04, top)
    panel.axhline(0, color="black", linewidth=0.6)


def _ratio(panel: Axes, region: Mapping[str, Any]) -> None:
    day = _column(region, "day")
    panel.axhspan(1 / (1 + DRIFT), 1 + DRIFT, color="#eeeeee", zorder=0, label="allowed")
    low, high = _column(region, "low"), _column(region, "high")
    panel.fill_between(
        day + 7, low, high, color=_CHAMPION, alpha=0.22, linewidth=0, label="bounds of the drift trigger"
    )
    panel.plot(day + 3.5, _column(region, "observed_over_expected"), color=_CHAMPION, marker=".", linestyle="none",
               label="champion, one week")  # fmt: skip
    due = [one["day"] for one in region["happenings"] if one["what"] == "due"]
    drift = [one["day"] for one in region["happenings"] if one["what"] == "due" and "observed over" in one["why"]]
    panel.plot(due, np.full(len(due), 0.82), marker="|", markersize=10, color="black", linestyle="none",
               label="a challenger is due")  # fmt: skip
    for at in drift[:1]:
        panel.axvline(at, color=_SEEN, linewidth=1.4, linestyle="--", label="drift seen")
    panel.set_ylim(0.78, 1.75)

"""What all figures share: one look, and colours that the colour-blind tell apart."""

from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from scipy.stats import binomtest

from models.evaluation.result import Evaluation

# Okabe and Ito's palette, and greys
NETWORK, BASELINE = "#0072b2", "#d55e00"
INK, QUIET = "#1a1a1a", "#6b6b6b"
WIDTH = 8.0  # inches
_STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",  # comes with matplotlib
    "font.size": 10.5,
    "axes.titlesize": 11.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": QUIET,
    "axes.labelcolor": INK,
    "text.color": INK,
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
}
PERCENT = FuncFormatter(lambda share, _: f"{100 * share:.6g} %")


def styled() -> AbstractContextManager[None]:
    return mpl.rc_context(_STYLE)


def canvas(height: float) -> Figure:
    """An empty figure, WIDTH x `height` inches. No window and no state of pyplot belongs to it."""
    return Figure(figsize=(WIDTH, height), layout="constrained")


def grid_lines(axes: Axes, axis: str = "both") -> None:
    axes.grid(visible=True, axis=axis, color="#ececec", linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)


_MARKS: tuple[dict[str, Any], ...] = (  # the network's lie on top and leave the baseline's to be seen
    {"color": NETWORK, "marker": "o", "markersize": 4.5, "zorder": 4},
    {"color": BASELINE, "marker": "s", "markersize": 7, "markerfacecolor": "white", "zorder": 3},
)
SMALL = 0.10  # a median probability below it asks for logarithmic axes
CAPTION = (
    "Forecasts are sorted into groups of equally many. Where 20 % was forecast, an incident should have happened in "
    "20 % of the cases: points on the dashed line are right; above it the forecast is too low. Bars are 95 % intervals "
    "as if all cases were independent, so they are too short; a point on the lower edge had no incident. Below: how "
    "many of the cases behind a point had one."
)


def description(evaluation: Evaluation) -> str:
    """What the diagram shows, for those who do not see it."""
    gaps = (100 * row.scores.sheet.ece for row in (evaluation.network, evaluation.row(evaluation.best_baseline)))
    return (
        "Reliability diagram. Mean gap between probability and frequency: network {:.2f}, best rival {:.2f} "
        "percentage points.".format(*gaps)
    )


def reliability_diagram(evaluation: Evaluation) -> Figure:
    """Forecast probability against observed frequency, and how many values with an incident are behind each point."""
    pair = evaluation.network, evaluation.row(evaluation.best_baseline)
    tables = [row.scores.reliability for row in pair]
    logarithmic = min(float(np.median(table.forecast)) for table in tables) < SMALL
    floor = min(float(table.forecast.min()) for table in tables) / 2 if logarithmic else 0.0
    top = 1.05 * max(max(float(table.forecast.max()), float(table.observed.max())) for table in tables)
    with styled():
        figure = canvas(6.6)
        main, counts = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        main.plot((floor, top), (floor, top), color=QUIET, linestyle="--", linewidth=1, label="perfectly calibrated")
        for row, table, style in zip(pair, tables, _MARKS, strict=True):
            label = f"{row.model}: mean gap {100 * row.scores.sheet.ece:.2f} points"
            incidents = np.rint(table.observed * table.values).astype(int).tolist()
            each = zip(incidents, table.values.tolist(), strict=True)
            low, high = np.array([binomtest(hits, values).proportion_ci(0.95) for hits, values in each]).T
            shown = np.maximum(table.observed, floor)  # a frequency of zero lies on the floor of logarithmic axes
            main.errorbar(
                table.forecast,
                shown,
                yerr=np.maximum(np.stack([shown - np.maximum(low, floor), high - shown]), 0),
                linewidth=1.3,
                elinewidth=1,
                ecolor=f"{style['color']}80",
                label=label,
                clip_on=False,
                **style,
            )
            counts.plot(table.forecast, table.observed * table.values, **style)
        main.set_title("Probability of at least one incident: forecast and observed")
        main.set_ylabel("share of cells with an incident")
        counts.set_ylabel("number of them")
        counts.set_xlabel("forecast probability of at least one incident in a cell and step")
        if logarithmic:
            main.set(xscale="log", yscale="log")
            for axis in (main.xaxis, main.yaxis):
                axis.set_major_locator(LogLocator(subs=(1, 3)))
                axis.set_minor_formatter(NullFormatter())
        main.set(xlim=(floor, top), ylim=(floor, top))
        counts.set_ylim(0)
        main.xaxis.set_major_formatter(PERCENT)
        main.yaxis.set_major_formatter(PERCENT)
        main.legend(loc="upper left")
        for axes in (main, counts):
            grid_lines(axes)
    return figure

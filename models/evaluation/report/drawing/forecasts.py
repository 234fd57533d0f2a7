"""Pictures of the network beside the best rival: which cells come first, and what their probabilities keep."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from scipy.stats import binomtest

from models.evaluation.report.drawing.style import BASELINE, INK, NETWORK, PERCENT, QUIET, canvas, grid_lines, styled
from models.evaluation.report.findings import best_baseline
from models.evaluation.result import Evaluation
from models.measures.calibration import PIT_BINS, Reliability

_MARKS: tuple[dict[str, Any], ...] = (  # the network's lie on top and leave the baseline's to be seen
    {"color": NETWORK, "marker": "o", "markersize": 4.5, "zorder": 4},
    {"color": BASELINE, "marker": "s", "markersize": 7, "markerfacecolor": "white", "zorder": 3},
)
MOST_AREA = 0.30  # nobody can be ready in more
SMALL = 0.10  # a median probability below it asks for logarithmic axes


def reliability_diagram(evaluation: Evaluation) -> Figure:
    """Forecast probability against observed frequency, and how many values with an incident are behind each point."""
    pair = evaluation.network, best_baseline(evaluation)
    tables = [row.scores.curves.reliability for row in pair]
    logarithmic = min(float(np.median(table.forecast)) for table in tables) < SMALL
    floor = min(float(table.forecast.min()) for table in tables) / 2 if logarithmic else 0.0
    top = 1.05 * max(max(float(table.forecast.max()), float(table.observed.max())) for table in tables)
    with styled():
        figure = canvas(6.6)
        main, counts = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
        main.plot((floor, top), (floor, top), color=QUIET, linestyle="--", linewidth=1, label="perfectly calibrated")
        for row, table, style in zip(pair, tables, _MARKS, strict=True):
            label = f"{row.model}: mean gap {100 * row.scores.sheet.ece:.2f} points"
            _points(main, table, floor, style=style, label=label)
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


def pit_histogram(evaluation: Evaluation) -> Figure:
    """How often counts fall into each twentieth of their forecast distribution; flat when the forecast is right."""
    edges = np.linspace(0, 1, PIT_BINS + 1)
    network, baseline = (
        row.scores.curves.pit * PIT_BINS / row.scores.curves.pit.sum()
        for row in (evaluation.network, best_baseline(evaluation))
    )
    with styled():
        figure = canvas(3.6)
        axes = figure.subplots()
        axes.stairs(network, edges, fill=True, color=NETWORK, alpha=0.35, label=evaluation.network.model)
        axes.stairs(baseline, edges, color=BASELINE, linewidth=1.6, label=evaluation.best_baseline)
        axes.axhline(1, color=INK, linewidth=1, linestyle="--", label="right")
        axes.set(xlim=(0, 1), ylim=(0, 1.35 * max(1.0, float(network.max()), float(baseline.max()))))
        axes.set_title("Where the counts fall in their forecast distribution")
        axes.set_xlabel("place in the distribution (randomised PIT): 0 lowest, 1 highest")
        axes.set_ylabel("frequency, 1 is right")
        axes.legend(loc="upper center", ncols=3)
        grid_lines(axes, "y")
    return figure


def _points(axes: Axes, table: Reliability, floor: float, *, style: Mapping[str, Any], label: str) -> None:
    """Points with 95 % intervals; a frequency of zero lies on the floor of logarithmic axes."""
    pairs = zip(np.rint(table.observed * table.values).astype(int).tolist(), table.values.tolist(), strict=True)
    low, high = np.array([binomtest(hits, values).proportion_ci(0.95) for hits, values in pairs]).T
    shown = np.maximum(table.observed, floor)
    errors = np.stack([shown - np.maximum(low, floor), high - shown])
    axes.errorbar(
        table.forecast,
        shown,
        yerr=np.maximum(errors, 0),
        linewidth=1.3,
        elinewidth=1,
        ecolor=f"{style['color']}80",
        label=label,
        clip_on=False,
        **style,
    )


def hit_rate_curve(evaluation: Evaluation) -> Figure:
    """Hit rate over the share of the area; below, the network's lead over the best rival."""
    area, hits, ideal = evaluation.network.scores.curves.capture.curve()
    _, rival, _ = best_baseline(evaluation).scores.curves.capture.curve()
    shown = area <= MOST_AREA + 1 / len(area)
    area, hits, ideal, rival = area[shown], hits[shown], ideal[shown], rival[shown]
    with styled():
        figure = canvas(6.2)
        main, lead = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        main.plot(area, ideal, color=INK, linewidth=1.2, linestyle="--", label="best choice in hindsight")
        main.plot(area, hits, color=NETWORK, linewidth=2.2, label=evaluation.network.model)
        main.plot(area, rival, color=BASELINE, linewidth=1.4, linestyle=(0, (4, 2)), label=evaluation.best_baseline)
        main.plot(area, area, color=QUIET, linewidth=1.2, linestyle=":", label="choosing at random")
        main.set_title("Incidents in the cells that come first")
        main.set_ylabel("incidents inside")
        main.yaxis.set_major_formatter(PERCENT)
        main.set(xlim=(0, MOST_AREA), ylim=(0, 1))
        main.legend(loc="best")
        points = 100 * (hits - rival)
        lead.axhline(0, color=BASELINE, linewidth=1.4, linestyle=(0, (4, 2)))
        lead.plot(area, points, color=NETWORK, linewidth=2)
        reach = max(0.5, 1.2 * float(np.nanmax(np.abs(points), initial=0)))
        lead.set_ylim(-reach, reach)
        lead.set_ylabel("lead, points")
        lead.set_xlabel("share of the area, the cells of highest forecast first")
        lead.xaxis.set_major_formatter(PERCENT)
        for axes in (main, lead):
            grid_lines(axes)
    return figure

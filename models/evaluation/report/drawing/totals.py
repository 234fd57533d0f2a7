"""A picture of totals: forecast over actual by time and by district."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from models.evaluation.report.drawing.style import INK, NETWORK, PALE, WORSE, canvas, grid_lines, styled
from models.evaluation.result import Evaluation
from models.measures.totals import Total

UNLIKELY = 0.05  # an N-test below it is marked
Z = 1.96  # of a 95 % range
LEAST_REACH, MOST_REACH = 1.15, 2.0  # the ratios' axis reaches from 1 / reach to reach
WIDE, NARROW = (0.5, 0.67, 0.8, 1.0, 1.25, 1.5, 2.0), (0.7, 0.8, 0.9, 0.95, 1.0, 1.05, 1.1, 1.2, 1.4)  # ticks
MARGIN = 1.04  # so that a mark at the end of the axis is whole
MOST_NAMES = 26  # under one panel


def totals_by_part(evaluation: Evaluation) -> Figure:
    """The network's forecast over actual by hour (weekday where a step is a day), week and district."""
    totals = evaluation.network.totals
    hourly = len(totals.by_hour) > 1
    panels = (
        ("hour", totals.by_hour, "local hour in which a step starts")
        if hourly
        else ("weekday", totals.by_weekday, "weekday"),
        ("week", totals.by_week, "week of the judged time"),
        ("district", totals.by_district, "district, numbered from the south-west, west to east"),
    )
    ratios = np.array([part.ratio for _, parts, _ in panels for part in parts if part.actual])
    furthest = float(np.exp(np.abs(np.log(np.maximum(ratios, 1 / MOST_REACH))).max(initial=0)))
    reach = min(max(1.05 * furthest, LEAST_REACH), MOST_REACH)
    with styled():
        figure = canvas(8.4)
        all_axes = figure.subplots(len(panels), 1)
        for axes, (title, parts, label) in zip(all_axes, panels, strict=True):
            _panel(axes, parts, reach)
            axes.set_title(f"Forecast over observed incidents, by {title}")
            axes.set_xlabel(label)
            axes.set_ylabel("forecast / actual")
        handles, labels = all_axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def _panel(axes: Axes, parts: Sequence[Total], reach: float) -> None:
    """A point for each part that had an incident, over the range of ratios that chance alone gives."""
    place = np.arange(len(parts))
    forecast, variance = (np.array([getattr(part, name) for part in parts]) for name in ("forecast", "variance"))
    spread = Z * np.sqrt(variance)
    expected = forecast > 0
    low = np.divide(forecast, forecast + spread, out=np.ones(len(parts)), where=expected)
    high = np.divide(forecast, forecast - spread, out=np.full(len(parts), np.inf), where=forecast > spread)
    low, high = np.maximum(low, 1 / reach / MARGIN), np.minimum(high, reach * MARGIN)
    height = np.where(expected, high - low, 0)
    axes.bar(place, height, bottom=low, width=0.7, color=PALE, label="what chance alone explains (95 %)")
    axes.axhline(1, color=INK, linewidth=1)
    ratio = np.array([part.ratio for part in parts])
    unlikely = np.array([part.n_test < UNLIKELY for part in parts])
    shown = np.clip(ratio, 1 / reach, reach)
    axes.plot(place[~unlikely], shown[~unlikely], "o", color=NETWORK, label="within it")
    outside = f"outside: N-test below {UNLIKELY}"
    axes.plot(place[unlikely], shown[unlikely], "D", color=WORSE, label=outside)
    for x in np.flatnonzero(np.isfinite(ratio) & (shown != ratio)):
        axes.annotate(f"{ratio[x]:.2g} ", (x - 0.15, shown[x]), ha="right", va="center")
    named = place[:: -(-len(parts) // MOST_NAMES)]
    axes.set_xticks(named, [parts[x].name.removeprefix("week ").removeprefix("district ") for x in named])
    axes.set(yscale="log", ylim=(1 / reach / MARGIN, reach * MARGIN), xlim=(-0.7, len(parts) - 0.3))
    ticks = WIDE if reach > max(NARROW) else NARROW
    axes.yaxis.set_major_locator(FixedLocator([tick for tick in ticks if 1 / reach <= tick <= reach]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    grid_lines(axes, "y")

"""A picture of the comparison with the best rival: every row with its interval."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models.evaluation.report.columns import difference_text
from models.evaluation.report.drawing.style import INK, VERDICTS, canvas, grid_lines, styled
from models.evaluation.report.findings import Against
from models.evaluation.result import Evaluation
from models.measures.cube import Floats

FAR = 3  # times the median row: further rows lie outside the picture, and an arrow points to them


def difference_plot(evaluation: Evaluation) -> Figure:
    """Differences of the log score with 95 % intervals; left of zero a row is better than the best rival."""
    rows, score = evaluation.rows, evaluation.best_score
    differences = [row.versus_best_baseline for row in rows]
    shares = np.array(
        [Against(difference, score).percent if difference else (0.0, 0.0, 0.0) for difference in differences]
    )  # (rows, 3) mean, low, high, percent
    left, right = _window(shares, [row.kind == "network" for row in rows])
    with styled():
        figure = canvas(1.7 + 0.36 * len(rows))
        axes = figure.subplots()
        axes.axvline(0, color=INK, linewidth=1.2)
        for place, (row, (mean, low, high)) in enumerate(zip(rows, shares, strict=True)):
            if row.versus_best_baseline is None:
                axes.plot(0, place, "|", color=INK, markersize=12, markeredgewidth=2)
            else:
                _interval(axes, place, (mean, low, high), (left, right), row.verdict)
            weight = "bold" if row.kind == "network" else "normal"
            words = f"{difference_text(row, evaluation)}  {row.verdict}"
            axes.text(1.02, place, words, transform=axes.get_yaxis_transform(), va="center", weight=weight)
        axes.set_yticks(range(len(rows)), [row.model for row in rows])
        axes.set(xlim=(left, right), ylim=(len(rows) - 0.4, -0.6))
        axes.tick_params(axis="y", length=0)
        axes.set_title(f"Log score against the best rival, {evaluation.best_baseline}")
        axes.set_xlabel("difference, percent of the best rival's log score: left of zero is better")
        axes.spines["left"].set_visible(False)
        grid_lines(axes, "x")
    return figure


def _window(shares: Floats, always: list[bool]) -> tuple[float, float]:
    """The span of percent that shows zero, the rows that must be in it, and all that are not FAR away."""
    reach = np.abs(shares).max(axis=1)
    near = (reach <= FAR * np.median(reach)) | np.array(always)
    left, right = min(0.0, float(shares[near].min())), max(0.0, float(shares[near].max()))
    margin = 0.06 * max(right - left, 1e-3)
    return left - margin, right + margin


def _interval(
    axes: Axes, place: int, share: tuple[float, float, float], window: tuple[float, float], verdict: str
) -> None:
    mean, low, high = share
    colour, marker = VERDICTS[verdict]
    if mean > window[1] or mean < window[0]:
        edge, arrow = (window[1], ">") if mean > 0 else (window[0], "<")
        axes.plot(edge, place, arrow, color=colour, markersize=9, clip_on=False)
        return
    axes.plot((low, high), (place, place), color=colour, linewidth=2.2)
    axes.plot(mean, place, marker, color=colour, markersize=7)

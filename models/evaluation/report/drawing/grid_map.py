"""The map: where incidents were expected, and where they were observed."""

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import ListedColormap, LogNorm, Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from models.evaluation.report.drawing.style import PALE, QUIET, WIDTH, canvas, styled
from models.evaluation.report.findings import step_name
from models.evaluation.result import Evaluation
from models.measures.cube import Floats

ENOUGH = 10  # expected incidents of a cell in the judged time; with fewer, a ratio is chance
MOST_RATIO = 2.0
RATIO_TICKS = (0.5, 0.7, 1.0, 1.4, 2.0)


def expected_and_observed(evaluation: Evaluation) -> Figure:
    """Expected and observed incidents of each cell on one scale, and their ratio; north is up."""
    cube, steps = evaluation.cube, len(evaluation.cube) - evaluation.first
    expected = evaluation.expected.sum(axis=1).reshape(cube.rows, cube.cols)
    scored = np.isfinite(expected)
    observed = np.where(scored, evaluation.observed.sum(axis=1).reshape(cube.rows, cube.cols), np.nan)
    enough = scored & (np.nan_to_num(expected) * steps >= ENOUGH)
    ratio = np.divide(expected, observed, out=np.full(expected.shape, np.inf), where=enough & (observed > 0))
    top = max(float(np.nanmax(expected, initial=0)), float(np.nanmax(observed, initial=0)), 1e-9)
    per_step = PowerNorm(0.5, vmin=0, vmax=top)
    with styled():
        figure = canvas(0.3 * WIDTH * min(max(cube.rows / cube.cols, 0.4), 2.2) + 1.5)
        panels = figure.subplots(1, 3, sharex=True, sharey=True)
        _panel(panels[0], expected, evaluation, "cividis", per_step)
        counts = _panel(panels[1], observed, evaluation, "cividis", per_step)
        ratio_norm = LogNorm(1 / MOST_RATIO, MOST_RATIO)
        ratios = _panel(panels[2], np.where(enough, ratio, np.nan), evaluation, "PuOr_r", ratio_norm)
        _mark(panels[2], scored & ~enough, evaluation)
        for axes, title in zip(panels, ("Expected", "Observed", "Expected / observed"), strict=True):
            axes.set_title(title)
        panels[0].set_ylabel("km north")
        label = f"incidents per {step_name(evaluation)}, all categories"
        ticks = MaxNLocator(4)
        figure.colorbar(counts, ax=panels[:2], location="bottom", label=label, ticks=ticks, shrink=0.8, aspect=40)
        label = "over 1: too many expected"
        bar = figure.colorbar(ratios, ax=panels[2], location="bottom", label=label, extend="both", aspect=18)
        bar.set_ticks(RATIO_TICKS, labels=[f"{tick:g}" for tick in RATIO_TICKS])
        bar.minorticks_off()
    return figure


def _panel(axes: Axes, values: Floats, evaluation: Evaluation, colours: str, norm: Normalize) -> ScalarMappable:
    """values: (rows, cols), row 0 in the south; nan where nothing is shown."""
    cube = evaluation.cube
    km = cube.cell_m / 1000
    extent = (0, cube.cols * km, 0, cube.rows * km)
    unscored = np.isnan(evaluation.expected).any(axis=1).reshape(cube.rows, cube.cols)
    grey = np.where(unscored, 0.0, np.nan)
    axes.imshow(grey, cmap=ListedColormap([PALE]), extent=extent, origin="lower", interpolation="nearest")
    image = axes.imshow(
        values, cmap=colormaps[colours], norm=norm, extent=extent, origin="lower", interpolation="nearest"
    )
    axes.set_xlabel("km east")
    axes.set_aspect("equal")
    return image


def _mark(axes: Axes, cells: npt.NDArray[np.bool_], evaluation: Evaluation) -> None:
    """A dot in each of the cells. cells: (rows, cols) bool."""
    km = evaluation.cube.cell_m / 1000
    row, col = np.nonzero(cells)
    axes.plot((col + 0.5) * km, (row + 0.5) * km, ".", color=QUIET, markersize=2.5)

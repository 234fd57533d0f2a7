"""What all figures share: one look, and colours that the colour-blind tell apart."""

from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

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

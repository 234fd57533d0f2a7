"""The picture of a soak: a panel per quantity, with units, fitted lines and bounds."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benchmarks.soak_figures import Samples, Verdict, fitted_line
from benchmarks.soak_report import signed

_SEEN, _LIMIT, _CHANGE = "#0072b2", "#d55e00", "#cc79a7"  # of Okabe and Ito: safe for colour blindness
_FIT, _SENT, _FITTED = "#000000", "#bbbbbb", "#f2f2f2"
_COLUMNS = 5
_MANY = 50  # values in a line need no marks
_STYLE = {"font.size": 9, "axes.titlesize": 9, "axes.spines.top": False, "axes.spines.right": False}


def write_plot(
    samples: Samples, verdicts: Sequence[Verdict], path: Path, *, from_s: float, changes_s: Sequence[float]
) -> None:
    """from_s: where the fitted span begins. changes_s: when regions joined or fell silent."""
    rows = -(-(len(verdicts) + 1) // _COLUMNS)
    with plt.rc_context(_STYLE):
        figure, axes = plt.subplots(rows, _COLUMNS, figsize=(16, 2.9 * rows), layout="constrained", squeeze=False)
        panels = list(axes.flat)
        for panel in panels:
            panel.axvspan(from_s / 60, samples["t_s"][-1] / 60, color=_FITTED, zorder=0)
            for number, at_s in enumerate(changes_s):
                label = None if number else "a region joins or falls silent"
                panel.axvline(at_s / 60, color=_CHANGE, linewidth=0.8, linestyle=":", label=label)
            panel.set_xlim(0, samples["t_s"][-1] / 60)
            panel.set_xlabel("minutes")
        for panel, verdict in zip(panels, verdicts, strict=False):
            _quantity(panel, samples, verdict, from_s=from_s)
        _ledger(panels[len(verdicts)], samples)
        for panel in panels[len(verdicts) + 1 :]:
            panel.set_visible(False)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside upper center", ncols=len(labels), frameon=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=100)
        plt.close(figure)


def _quantity(panel: Axes, samples: Samples, verdict: Verdict, *, from_s: float) -> None:
    values, bound = samples[verdict.bound.name], verdict.bound
    there = np.isfinite(values)
    marker = None if there.sum() > _MANY else "o"
    style = {"color": _SEEN, "linewidth": 1.0, "marker": marker, "markersize": 3.5}
    panel.plot(samples["t_s"][there] / 60, values[there], label="measured", **style)
    t_s, fit = fitted_line(*bound.judged(samples), from_s=from_s)
    steepest = fit[0] + (t_s - t_s[0]) / 3600 * verdict.most_per_hour
    panel.plot(t_s / 60, steepest, color=_LIMIT, linewidth=1.6, linestyle="--", label="steepest growth that is allowed")
    panel.plot(t_s / 60, fit, color=_FIT, linewidth=1.6, label="fit over the last half")
    slopes = (signed(verdict.slope_per_hour, bound.digits), signed(verdict.most_per_hour, bound.digits))
    outcome = " BEYOND" if verdict.is_beyond else ""
    panel.set_title(
        f"{bound.words}\n{slopes[0]} ±{verdict.noise_per_hour:,.{bound.digits}f} an hour, bound {slopes[1]}{outcome}",
        loc="left",
    )
    panel.set_ylabel(bound.unit)
    panel.set_ylim(0, max(float(np.nanpercentile(values, 99.5)), float(steepest.max()), float(fit.max())) * 1.1)


def _ledger(panel: Axes, samples: Samples) -> None:
    minutes = samples["t_s"] / 60
    panel.plot(minutes, samples["sent"] / 1e6, color=_SENT, linewidth=5, label="sent")
    panel.plot(minutes, samples["consumed"] / 1e6, color=_SEEN, linewidth=1.2, label="in the ledger")
    panel.set_title("events since the start\n", loc="left")
    panel.set_ylabel("million")
    panel.set_ylim(0)
    handles, labels = panel.get_legend_handles_labels()
    panel.legend(handles[-2:], labels[-2:], frameon=False, loc="upper left")

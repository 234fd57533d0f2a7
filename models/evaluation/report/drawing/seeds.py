"""Pictures of training: how the loss falls, and how far seeds differ."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from models.evaluation.report.drawing.style import INK, NETWORK, PALE, QUIET, canvas, grid_lines, styled
from models.evaluation.report.findings import against_best, best_baseline
from models.evaluation.result import Evaluation


def learning_curves(evaluation: Evaluation) -> Figure:
    """Validation loss over the untrained network's, by epoch; the marked epoch of each seed is the one that is kept."""
    with styled():
        figure = canvas(3.8)
        axes = figure.subplots()
        axes.axhline(1, color=INK, linewidth=1, linestyle="--", label="untrained: our baseline")
        for number, losses in enumerate(evaluation.learning.seeds):
            curve = np.array(losses)
            best = int(np.argmin(curve))
            axes.plot(curve, color=NETWORK, linewidth=1.2, alpha=0.7, label=None if number else "one seed each")
            axes.plot(best, curve[best], "o", color=NETWORK, markersize=7, label=None if number else "kept")
        axes.set_title("How the network learned")
        axes.set_xlabel("epochs: passes over the training examples; 0 is the linear part alone")
        axes.set_ylabel("validation loss / untrained")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.ticklabel_format(axis="y", useOffset=False)
        axes.legend(loc="best")
        grid_lines(axes)
    return figure


def seed_spread(evaluation: Evaluation) -> Figure:
    """Each seed's log score against the best baseline's, over the interval of their mean."""
    of = best_baseline(evaluation).scores.sheet.nb_log_score
    shares = 100 * (np.array(evaluation.network.log_scores_of_seeds) - of) / of
    mean, low, high = against_best(evaluation).percent
    place = np.arange(1, len(shares) + 1)
    with styled():
        figure = canvas(1.8 + 0.25 * len(shares))
        axes = figure.subplots()
        axes.axvspan(low, high, color=PALE, label="95 % interval of the mean")
        axes.axvline(mean, color=QUIET, linewidth=1.2, linestyle="--", label="mean of the seeds")
        axes.axvline(0, color=INK, linewidth=1.2)
        axes.plot(shares, place, "o", color=NETWORK, markersize=7, label="one seed")
        axes.set(yticks=place, ylim=(len(shares) + 0.6, 0.4))
        axes.set_title("How far seeds differ: the same network, other random starts")
        axes.set_xlabel("log score against the best baseline, percent: left of zero is better")
        axes.set_ylabel("seed")
        axes.margins(x=0.1)
        figure.legend(loc="outside lower center", ncols=3)
        grid_lines(axes, "x")
    return figure

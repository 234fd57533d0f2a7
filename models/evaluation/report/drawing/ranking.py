"""A picture of ranking: what share of the incidents lies in the cells that come first."""

import numpy as np
from matplotlib.figure import Figure

from models.evaluation.report.drawing.style import BASELINE, INK, NETWORK, PERCENT, QUIET, canvas, grid_lines, styled
from models.evaluation.report.findings import best_baseline
from models.evaluation.result import Evaluation

MOST_AREA = 0.30  # nobody can be ready in more


def hit_rate_curve(evaluation: Evaluation) -> Figure:
    """Hit rate over the share of the area; below, the network's lead over the best baseline."""
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

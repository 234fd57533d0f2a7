"""The figures of an evaluation, in the order in which a report shows them, with the words that go with them."""

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from models.evaluation.report.columns import difference_text
from models.evaluation.report.drawing.differences import difference_plot
from models.evaluation.report.drawing.reliability import reliability_diagram
from models.evaluation.result import Evaluation

Draw = Callable[[Evaluation], Figure]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    name: str  # of the file, without .png
    draw: Draw
    caption: str  # how to read it
    describe: Callable[[Evaluation], str]  # what it shows, for those who do not see it


def _differences(evaluation: Evaluation) -> str:
    rows = (f"{row.model} {difference_text(row, evaluation)} {row.verdict}".strip() for row in evaluation.rows)
    return f"Every model's log score against the best rival, percent: {'; '.join(rows)}."


def _reliability(evaluation: Evaluation) -> str:
    gaps = (100 * row.scores.sheet.ece for row in (evaluation.network, evaluation.row(evaluation.best_baseline)))
    return (
        "Reliability diagram. Mean gap between probability and frequency: network {:.2f}, best rival {:.2f} "
        "percentage points.".format(*gaps)
    )


PLOTS = (
    Plot(
        name="differences",
        draw=difference_plot,
        describe=_differences,
        caption="Each row is one model; the line through its mark is the 95 % interval, from a bootstrap of three-day "
        "blocks of the same judged steps. Where there is a verdict, a line that crosses zero is a tie. An arrow points "
        "to a row that is too far off to be drawn; its number stands beside it.",
    ),
    Plot(
        name="reliability",
        draw=reliability_diagram,
        describe=_reliability,
        caption="Forecasts are sorted into groups of equally many. Where 20 % was forecast, an incident should have "
        "happened in 20 % of the cases: points on the dashed line are right; above it the forecast is too low. Bars "
        "are 95 % intervals as if all cases were independent, so they are too short; a point on the lower edge had "
        "no incident. Below: how many of the cases behind a point had one.",
    ),
)

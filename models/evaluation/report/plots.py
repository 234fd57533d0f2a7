"""The figures of an evaluation, in the order in which a report shows them, with the words that go with them."""

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.figure import Figure

from models.evaluation.report.columns import NONE, difference_text, verdict_text
from models.evaluation.report.drawing.differences import difference_plot, learning_curves, seed_spread
from models.evaluation.report.drawing.forecasts import hit_rate_curve, pit_histogram, reliability_diagram
from models.evaluation.report.drawing.grid_map import ENOUGH, expected_and_observed
from models.evaluation.report.drawing.totals import UNLIKELY, totals_by_part
from models.evaluation.report.findings import at_share, best_baseline
from models.evaluation.result import Evaluation

Draw = Callable[[Evaluation], Figure]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    name: str  # of the file, without .png
    draw: Draw
    caption: str  # how to read it
    describe: Callable[[Evaluation], str]  # what it shows, for those who do not see it


def _differences(evaluation: Evaluation) -> str:
    rows = (
        f"{row.model} {difference_text(row, evaluation)} {verdict_text(row.versus_best_baseline)}".strip()
        for row in evaluation.rows
    )
    return f"Every model's log score against the best rival, percent: {'; '.join(rows)}."


def _hits(evaluation: Evaluation) -> str:
    network, rival = evaluation.network.scores.sheet, best_baseline(evaluation).scores.sheet
    rates = (
        f"{one.area_share:.0%} of the area: network {one.hit_rate:.1%}, best rival "
        f"{at_share(rival, one.area_share).hit_rate:.1%}, ideal {one.ideal_hit_rate:.1%}"
        for one in network.ranking
    )
    return f"Hit rate over the share of the area. {'; '.join(rates)}.".replace("nan%", NONE)


def _reliability(evaluation: Evaluation) -> str:
    gaps = (100 * row.scores.sheet.ece for row in (evaluation.network, best_baseline(evaluation)))
    return (
        "Reliability diagram. Mean gap between probability and frequency: network {:.2f}, best rival {:.2f} "
        "percentage points.".format(*gaps)
    )


def _pit(evaluation: Evaluation) -> str:
    sheet = evaluation.network.scores.sheet
    return (
        f"Histogram of the randomised PIT. The network's 50 % intervals hold {sheet.coverage_50:.1%} of the counts, "
        f"its 90 % intervals {sheet.coverage_90:.1%}."
    )


def _totals(evaluation: Evaluation) -> str:
    totals = evaluation.network.totals
    parts = (*totals.by_hour, *totals.by_weekday, *totals.by_week, *totals.by_district)
    ratios = [part.ratio for part in parts if part.actual]
    span = f"between {min(ratios):.2f} and {max(ratios):.2f}" if ratios else "unknown: no incident happened"
    return f"The network's forecast over actual by time and district, {span}."


def _map(evaluation: Evaluation) -> str:
    return (
        f"Three maps of {evaluation.cube.rows} by {evaluation.cube.cols} cells: expected incidents, observed "
        "incidents, and their ratio."
    )


def _learning(evaluation: Evaluation) -> str:
    kept = ", ".join(f"{min(1.0, *losses):.4f}" for losses in evaluation.learning)
    return f"Validation loss over the untrained network's by epoch; the least of each seed: {kept}."


def _seeds(evaluation: Evaluation) -> str:
    scores = ", ".join(f"{score:.5f}" for score in evaluation.network.log_scores_of_seeds)
    return f"The network's log score by seed: {scores}."


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
        name="hit_rate",
        draw=hit_rate_curve,
        describe=_hits,
        caption="Going right, more of the area is covered, the cells of highest forecast first; up is the share of the "
        "incidents inside. Nobody can reach the line of hindsight: it is drawn from the observed incidents, and "
        "where they are rare it is mostly luck. Below: how many percentage points more than the best rival the "
        "network finds.",
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
    Plot(
        name="pit",
        draw=pit_histogram,
        describe=_pit,
        caption="Flat is right. A hump in the middle means intervals that are too wide, high ends mean intervals that "
        "are too narrow, a slope means forecasts that are too high (falling) or too low (rising).",
    ),
    Plot(
        name="totals",
        draw=totals_by_part,
        describe=_totals,
        caption="1 is right, above it too much was expected. A diamond lies outside what chance explains if all "
        f"incidents were independent (CSEP N-test below {UNLIKELY}). One in twenty does so by chance, and a city's "
        "good and bad days make it more: look at how far off a diamond is.",
    ),
    Plot(
        name="map",
        draw=expected_and_observed,
        describe=_map,
        caption="The network's expected and the observed incidents, on one scale; north is up. Grey cells are not "
        "scored. Right: orange cells had fewer incidents than expected, purple ones more; a dot marks a cell with "
        f"fewer than {ENOUGH} expected in the judged time, where a ratio would be chance.",
    ),
    Plot(
        name="learning",
        draw=learning_curves,
        describe=_learning,
        caption="Below the dashed line the network is better than the baseline that it starts from, on the steps that "
        "choices are made on (not the judged ones). A line that rises again fits noise; the network of the marked "
        "epoch is kept.",
    ),
    Plot(
        name="seeds",
        draw=seed_spread,
        describe=_seeds,
        caption="The same network from different random starts. Where the points spread as widely as the gain, "
        "one training says little.",
    ),
)

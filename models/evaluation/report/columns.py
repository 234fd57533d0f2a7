"""The figures of a model as they are shown: headings, meanings, and texts with digits that fit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import floor, isfinite, log10

from models.evaluation.after_surges import AREA_SHARE, LEAST_SURGES, MOVED, SURGE, SurgeRow
from models.evaluation.report.findings import Against
from models.evaluation.result import Evaluation, ModelResult
from models.measures import Sheet

NONE = "–"  # in place of a figure that needs an incident
SPACE = "\N{NO-BREAK SPACE}"
MANY = 10  # from this value on, one digit after the point is enough
MOST_DIGITS = 7  # after the point; with more a number is no longer read


@dataclass(frozen=True, slots=True)
class ReportColumn:
    """One figure of a sheet."""

    heading: str  # breaks at its space where it is narrow
    meaning: str
    value: Callable[[Sheet], float]
    digits: int | None = None  # after the point; None: four significant ones of the best value


LOG_SCORE = ReportColumn(
    f"NB{SPACE}log score",
    "How much the counts surprise the forecast, nats per cell, step and category; smaller is better. "
    "Rows are ordered by it.",
    lambda sheet: sheet.nb_log_score,
)
HIT_10 = ReportColumn(
    f"hit 10{SPACE}%",
    "Percent of the incidents in the 10 % of the cells with any history that the model puts first.",
    lambda sheet: 100 * next(at.hit_rate for at in sheet.ranking if at.area_share == 0.10),
    digits=1,
)
RATIO = ReportColumn(
    "f/a",
    "Forecast over actual: all expected over all observed incidents; 1 is right.",
    lambda sheet: sheet.forecast_over_actual,
    digits=3,
)
COVER_90 = ReportColumn(
    "cover 90",
    "Percent of the counts inside the 90 % interval (by the randomised PIT); 90 is right.",
    lambda sheet: 100 * sheet.coverage_90,
    digits=1,
)
COLUMNS = (LOG_SCORE, HIT_10, RATIO, COVER_90)
SURGE_HEADINGS = (
    "model", "steps", "came", "forecast", "f/a", "region's score, %", "cells' score, %", "hits", "all: region, %",
    "all: cells, %", "moved",
)  # fmt: skip
SURGE_MEANING = (
    f"Steps that begin when the last hour had {SURGE:g} standard deviations more than is usual, over all origins; of "
    f"fewer than {LEAST_SURGES} nothing is said. Scores: against the network alone, below zero is better; in brackets "
    f"the 95 % interval. Hits: in the {AREA_SHARE:.0%} of the cells that are put first. The last three columns are of "
    f"all steps; moved: where the forecast differs by more than {MOVED:.0%}."
)


def texts(column: ReportColumn, sheets: Sequence[Sheet]) -> list[str]:
    """The column's figure of each sheet, all with the same digits."""
    values = [column.value(sheet) for sheet in sheets]
    digits = _digits(values) if column.digits is None else column.digits
    return [_text(value, digits) if isfinite(value) else NONE for value in values]


def difference_text(row: ModelResult, evaluation: Evaluation) -> str:
    """Difference to the best rival and its 95 % interval, percent of the best rival's log score."""
    if row.versus_best_baseline is None:
        return "best rival"
    mean, low, high = Against(row.versus_best_baseline, evaluation.best_score).texts
    return f"{mean} ({low}, {high})"


def surge_texts(rows: Sequence[SurgeRow]) -> list[tuple[str, ...]]:
    """The texts under SURGE_HEADINGS of each model, the best score of the cells first."""
    few = any(row.steps < LEAST_SURGES for row in rows)
    ordered = sorted(rows, key=lambda row: row.all_cells_percent if few else row.cells_percent)
    return [
        (
            row.model,
            str(row.steps),
            *(
                [NONE] * 6
                if few
                else [
                    f"{row.came:.1f}",
                    f"{row.forecast:.1f}",
                    f"{row.forecast_over_actual:.2f} ({row.low:.2f} to {row.high:.2f})",
                    f"{row.region_percent:+.1f}",
                    f"{row.cells_percent:+.2f} ({row.cells_low:+.2f} to {row.cells_high:+.2f})",
                    f"{row.hits:.1%}",
                ]
            ),
            f"{row.all_region_percent:+.2f}",
            f"{row.all_cells_percent:+.3f}",
            f"{row.moved:.1%}",
        )
        for row in ordered
    ]


def _text(value: float, digits: int) -> str:
    if digits > MOST_DIGITS:
        return f"{value:.3g}"
    return f"{value:.{digits if value < MANY else 1}f}"


def _digits(values: Sequence[float]) -> int:
    best = min((value for value in values if isfinite(value) and value > 0), default=1.0)
    return max(0, 3 - floor(log10(best)))

"""The figures of a model as they are shown: headings, meanings, and texts with digits that fit."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import floor, isfinite, log10

from models.evaluation.report.findings import at_share, best_baseline, percent_texts
from models.evaluation.result import Evaluation, ModelResult
from models.measures.paired import Difference
from models.measures.sheet import Sheet

NONE = "–"  # in place of a figure that needs an incident
BEST = "best baseline"
MANY = 10  # from this value on, one digit after the point is enough
MOST_DIGITS = 7  # after the point; with more a number is no longer read


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportColumn:
    """One figure of a sheet."""

    heading: str  # breaks at its space where it is narrow
    meaning: str
    value: Callable[[Sheet], float]
    digits: int | None = None  # after the point; None: four significant ones of the best value


LOG_SCORE = ReportColumn(
    heading="NB\N{NO-BREAK SPACE}log score",
    meaning="How much the counts surprise the forecast, nats per cell, step and category; smaller is better. "
    "Rows are ordered by it.",
    value=lambda sheet: sheet.nb_log_score,
)
DEVIANCE = ReportColumn(
    heading="Poisson dev.",
    meaning="Poisson deviance per cell, step and category; smaller is better.",
    value=lambda sheet: sheet.poisson_deviance,
)
CRPS = ReportColumn(
    heading="CRPS",
    meaning="How far the whole forecast distribution lies from the count, incidents; smaller is better.",
    value=lambda sheet: sheet.crps,
)
AUC_PR = ReportColumn(
    heading="AUC PR",
    meaning="Average precision of “at least one incident”; larger is better.",
    value=lambda sheet: sheet.auc_pr,
    digits=3,
)
HIT_5 = ReportColumn(
    heading="hit 5\N{NO-BREAK SPACE}%",
    meaning="Percent of the incidents in the 5 % of the area that the model puts first.",
    value=lambda sheet: 100 * at_share(sheet, 0.05).hit_rate,
    digits=1,
)
HIT_10 = ReportColumn(
    heading="hit 10\N{NO-BREAK SPACE}%",
    meaning="The same of 10 % of the area.",
    value=lambda sheet: 100 * at_share(sheet, 0.10).hit_rate,
    digits=1,
)
RATIO = ReportColumn(
    heading="f/a",
    meaning="Forecast over actual: all expected over all observed incidents; 1 is right.",
    value=lambda sheet: sheet.forecast_over_actual,
    digits=3,
)
COVER_90 = ReportColumn(
    heading="cover 90",
    meaning="Percent of the counts inside the 90 % interval (by the randomised PIT); 90 is right.",
    value=lambda sheet: 100 * sheet.coverage_90,
    digits=1,
)
MAIN = (LOG_SCORE, DEVIANCE, CRPS, AUC_PR, HIT_5, HIT_10, RATIO, COVER_90)
MORE = (
    ReportColumn(heading="Brier", meaning="Brier score of “at least one”; smaller is better.", value=lambda s: s.brier),
    ReportColumn(heading="log loss", meaning="Log loss of “at least one”, nats; smaller.", value=lambda s: s.log_loss),
    ReportColumn(
        heading="ECE",
        meaning="Expected calibration error: mean gap between probability and frequency, percentage points; smaller.",
        value=lambda sheet: 100 * sheet.ece,
        digits=2,
    ),
    ReportColumn(
        heading="hit 1\N{NO-BREAK SPACE}%",
        meaning="Percent of the incidents in the 1 % of the area that the model puts first.",
        value=lambda sheet: 100 * at_share(sheet, 0.01).hit_rate,
        digits=1,
    ),
    ReportColumn(
        heading="hit 20\N{NO-BREAK SPACE}%",
        meaning="The same of 20 % of the area.",
        value=lambda sheet: 100 * at_share(sheet, 0.20).hit_rate,
        digits=1,
    ),
    ReportColumn(
        heading="PAI 10\N{NO-BREAK SPACE}%",
        meaning="Predictive accuracy index: hit rate over flagged area, at 10 %; 1 is chance.",
        value=lambda sheet: at_share(sheet, 0.10).pai,
        digits=2,
    ),
    ReportColumn(
        heading="PEI 10\N{NO-BREAK SPACE}%",
        meaning="Predictive efficiency index: hits over those of the best choice in hindsight, at 10 %; 1 is most.",
        value=lambda sheet: at_share(sheet, 0.10).pei,
        digits=3,
    ),
    ReportColumn(
        heading="busy 90",
        meaning="Percent inside the 90 % interval where the model expects an incident or more; 90 is right.",
        value=lambda sheet: 100 * sheet.busy_coverage_90,
        digits=1,
    ),
    ReportColumn(
        heading="cover 50",
        meaning="Percent of the counts inside the 50 % interval; 50 is right.",
        value=lambda sheet: 100 * sheet.coverage_50,
        digits=1,
    ),
    ReportColumn(
        heading="plain 90",
        meaning="Percent of the counts in the plain interval of whole numbers, often above 90 where counts are small.",
        value=lambda sheet: 100 * sheet.plain_coverage_90,
        digits=1,
    ),
    ReportColumn(
        heading="width 90",
        meaning="Mean width of that interval, incidents; smaller is sharper.",
        value=lambda sheet: sheet.width_90,
    ),
)


def texts(column: ReportColumn, sheets: Sequence[Sheet]) -> list[str]:
    """The column's figure of each sheet, all with the same digits."""
    values = [column.value(sheet) for sheet in sheets]
    digits = _digits(values) if column.digits is None else column.digits
    return [_text(value, digits) if isfinite(value) else NONE for value in values]


def difference_text(row: ModelResult, evaluation: Evaluation) -> str:
    """Difference to the best baseline and its 95 % interval, percent of the best baseline's log score."""
    return against_text(row.versus_best_baseline, best_baseline(evaluation).scores.sheet.nb_log_score)


def against_text(difference: Difference | None, score: float, rival: str = BEST) -> str:
    """The difference in percent of `score`, the rival's log score; the rival's name where there is none."""
    if difference is None:
        return rival
    mean, low, high = percent_texts(difference, score)
    return f"{mean} ({low}, {high})"


def verdict_text(difference: Difference | None) -> str:
    return difference.verdict if difference else ""


def _text(value: float, digits: int) -> str:
    if digits > MOST_DIGITS:
        return f"{value:.3g}"
    return f"{value:.{digits if value < MANY else 1}f}"


def _digits(values: Sequence[float]) -> int:
    best = min((value for value in values if isfinite(value) and value > 0), default=1.0)
    return max(0, 3 - floor(log10(best)))

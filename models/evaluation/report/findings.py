"""What the report needs of an evaluation: its best baseline, differences in percent, figures at a share of the area."""

from dataclasses import dataclass
from datetime import UTC, datetime

from models.evaluation.result import Evaluation, ModelResult
from models.measures.paired import Difference
from models.measures.ranking import AtShare
from models.measures.sheet import Sheet
from models.measures.totals import Total
from schemas.errors import DataError


def best_baseline(evaluation: Evaluation) -> ModelResult:
    return next(row for row in evaluation.rows if row.model == evaluation.best_baseline)


def best_rule(evaluation: Evaluation) -> ModelResult:
    return next(row for row in evaluation.rows if row.model == evaluation.best_rule)


@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """The network's difference to a rival, in percent of the rival's NB log score."""

    percent: tuple[float, float, float]  # mean, low and high of the 95 % interval; below zero is better
    mean: str  # the same in words, signed
    low: str
    high: str
    blocks: int
    verdict: str

    @property
    def size(self) -> str:
        return self.mean.lstrip("+-")


def against_best(evaluation: Evaluation) -> Against:
    """The best baseline."""
    return _against(evaluation.network.versus_best_baseline, best_baseline(evaluation))


def against_rule(evaluation: Evaluation) -> Against:
    """The best of the rules that only count."""
    return _against(evaluation.network.versus_best_rule, best_rule(evaluation))


def _against(difference: Difference | None, rival: ModelResult) -> Against:
    if difference is None:
        raise DataError(f"the network was not compared with {rival.model!r}", remedy="evaluate it again")
    return against(difference, rival.scores.sheet.nb_log_score)


def against(difference: Difference, score: float) -> Against:
    """In percent of `score`, the rival's NB log score."""
    mean, low, high = percent_texts(difference, score)
    return Against(
        percent=percents(difference, score),
        mean=mean,
        low=low,
        high=high,
        blocks=difference.blocks,
        verdict=difference.verdict,
    )


def percents(difference: Difference, score: float) -> tuple[float, float, float]:
    """Mean and 95 % interval in percent of `score`, the rival's NB log score."""
    return 100 * difference.mean / score, 100 * difference.low / score, 100 * difference.high / score


def percent_texts(difference: Difference, score: float) -> tuple[str, str, str]:
    """The same in words: signed, with digits that fit the size."""
    shares = percents(difference, score)
    largest = max(map(abs, shares))
    digits = 0 if largest >= 100 else 1 if largest >= 10 else 2 if largest >= 0.1 else 3
    mean, low, high = (f"{share:+.{digits}f}" for share in shares)
    return mean, low, high


def at_share(sheet: Sheet, area_share: float) -> AtShare:
    """The ranking figures at one of AREA_SHARES."""
    return next(one for one in sheet.ranking if one.area_share == area_share)


def n_test(total: Total) -> float:
    """The total's N-test; nan where nothing is expected because no cell is scored."""
    return total.n_test if total.variance > 0 else float("nan")


def minute(at_s: int) -> str:
    """`2017-10-01 05:00`, UTC."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M")


def step_name(evaluation: Evaluation) -> str:
    """`hour`, `day` or `6 hours`."""
    hours = 168 / evaluation.cube.steps_per_week
    return {1: "hour", 24: "day"}.get(round(hours), f"{hours:g} hours")

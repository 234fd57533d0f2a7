"""What the report needs of an evaluation: its best rival, differences in percent, figures at a share of the area."""

from dataclasses import dataclass
from datetime import UTC, datetime

from models.evaluation.result import Evaluation, ModelResult
from models.measures.paired import Difference
from models.measures.ranking import AtShare
from models.measures.scores import Sheet
from schemas.errors import DataError


def best_baseline(evaluation: Evaluation) -> ModelResult:
    return evaluation.row(evaluation.best_baseline)


def best_rule(evaluation: Evaluation) -> ModelResult:
    return evaluation.row(evaluation.best_rule)


@dataclass(frozen=True, slots=True)
class Against:
    """A model's difference to a rival, in percent of the rival's NB log score; below zero is better."""

    difference: Difference
    score: float  # the rival's NB log score

    @property
    def percent(self) -> tuple[float, float, float]:
        """Mean, low and high of the 95 % interval."""
        difference = self.difference
        return 100 * difference.mean / self.score, 100 * difference.low / self.score, 100 * difference.high / self.score

    @property
    def texts(self) -> tuple[str, str, str]:
        """Mean, low and high in words: signed, with digits that fit the size."""
        largest = max(map(abs, self.percent))
        digits = 0 if largest >= 100 else 1 if largest >= 10 else 2 if largest >= 0.1 else 3
        mean, low, high = (f"{share:+.{digits}f}" for share in self.percent)
        return mean, low, high

    @property
    def size(self) -> str:
        return self.texts[0].lstrip("+-")


def against_best(evaluation: Evaluation) -> Against:
    """The network against the best rival."""
    return _against(evaluation.network.versus_best_baseline, best_baseline(evaluation))


def against_rule(evaluation: Evaluation) -> Against:
    """The network against the best of the rules that only count."""
    return _against(evaluation.network.versus_best_rule, best_rule(evaluation))


def _against(difference: Difference | None, rival: ModelResult) -> Against:
    if difference is None:
        raise DataError(f"the network was not compared with {rival.model!r}", remedy="evaluate it again")
    return Against(difference, rival.scores.sheet.nb_log_score)


def at_share(sheet: Sheet, area_share: float) -> AtShare:
    """The ranking figures at one of AREA_SHARES."""
    return next(at_share for at_share in sheet.ranking if at_share.area_share == area_share)


def minute(at_s: int) -> str:
    """`2017-10-01 05:00`, UTC."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%d %H:%M")

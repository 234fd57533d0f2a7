"""Picked out of an evaluation: its best baseline, differences in percent, figures at a share of the area."""

from models.evaluation.paired import Difference
from models.evaluation.ranking import AtShare
from models.evaluation.result import Evaluation, Row
from models.evaluation.sheet import Sheet
from models.evaluation.totals import Total
from schemas.errors import DataError


def best_baseline(evaluation: Evaluation) -> Row:
    return next(row for row in evaluation.rows if row.model == evaluation.best_baseline)


def network_difference(evaluation: Evaluation) -> Difference:
    """Of the network to the best baseline. Raises DataError when the network was compared with nothing."""
    difference = evaluation.network.versus_best_baseline
    if difference is None:
        raise DataError(f"{evaluation.network.model!r} was compared with nothing: give it a best baseline")
    return difference


def percents_of_best(difference: Difference, evaluation: Evaluation) -> tuple[float, float, float]:
    """Mean and 95 % interval in percent of the best baseline's NB log score."""
    of = best_baseline(evaluation).scores.sheet.nb_log_score
    return 100 * difference.mean / of, 100 * difference.low / of, 100 * difference.high / of


def percent_texts(difference: Difference, evaluation: Evaluation) -> tuple[str, str, str]:
    """The same in words: signed, with digits that fit the size."""
    shares = percents_of_best(difference, evaluation)
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


def step_name(evaluation: Evaluation) -> str:
    """`hour`, `day` or `6 hours`."""
    hours = 168 / evaluation.cube.steps_per_week
    return {1: "hour", 24: "day"}.get(round(hours), f"{hours:g} hours")

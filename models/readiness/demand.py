"""What is expected of the calls that standing units answer: from the artifact's data alone, by hours of the week."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.baseline import BaselineConstants, horizon_hours
from models.counting.count_state import CountState
from models.feature_lists import usual_columns
from models.features import FeatureEngine
from models.local_time import HOURS_OF_BLOCK
from models.readiness.answer import answered_columns
from schemas.errors import DataError
from schemas.grid import Floats
from schemas.spec import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """In a usual week, of the categories that units answer together."""

    expected: Floats  # (cells,) calls in the week
    has_history: npt.NDArray[np.bool_]  # (cells,) any such call in the days whose counts are kept
    categories: tuple[str, ...]


def usual_week(spec: Spec, constants: BaselineConstants, state: CountState) -> Demand:
    """The baseline's expectation at the state's time, over all hours of a week.

    Raises ArtifactError where nothing is answered, DataError where no call is on record.
    """
    answered = answered_columns(spec)
    features = FeatureEngine(spec, constants).compute(state)
    log_usual = features.values[:, :, usual_columns(len(spec.horizons_s))][:, :, -1].astype(np.float64)
    per_hour = np.exp(log_usual) / horizon_hours(constants, state.tick_s, spec)[:, :, -1]
    hours = np.einsum("bw,kw->kb", HOURS_OF_BLOCK, constants.profile)  # of average rate, in each block of the day
    has_history = np.asarray((features.support[:, answered] > 0).any(axis=1))
    if not has_history.any():
        raise DataError(
            f"no call is on record in {spec.region} for {', '.join(spec.answered_by)}",
            "train on a file with such calls",
        )
    week = per_hour * np.einsum("ckb,kb->ck", constants.day_lift, hours)
    return Demand(
        expected=week[:, answered].sum(axis=1),
        has_history=has_history,
        categories=spec.answered_by,
    )

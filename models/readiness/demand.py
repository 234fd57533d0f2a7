"""What is expected of the calls that standing units answer: from the artifact's data alone, by hours of the week."""

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.baseline import BaselineConstants, horizon_hours
from models.counting.count_state import CountState
from models.feature_lists import usual_columns
from models.features import FeatureEngine
from models.local_time import HOURS_OF_BLOCK
from models.readiness.answer import answered_columns
from schemas.errors import DataError, SettingsError
from schemas.grid import Cells, Floats
from schemas.spec import Spec

Hours = npt.NDArray[np.bool_]  # (24,) which hours of the local day
ALL_DAY: Hours = np.ones(24, np.bool_)


def hours_of(shift: str) -> Hours:
    """The whole hours of a shift, which may go beyond midnight. Raises SettingsError for what is no such thing.

    >>> hours_of("19-07").sum()
    np.int64(12)
    """
    match = re.fullmatch(r"(\d\d?)-(\d\d?)", shift)
    begin, end = map(int, match.groups()) if match else (0, 0)
    if not (0 <= begin < 24 and 0 < end <= 24 and begin != end):
        remedy = "give the whole hours of its beginning and its end, like 07-19 or 19-07"
        raise SettingsError(f"--shift {shift} is no part of a day", remedy)
    return np.asarray((np.arange(24) - begin) % 24 < ((end - begin) % 24 or 24))


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """In a usual week, of the categories that units answer together."""

    expected: Floats  # (cells,) calls in the week
    has_history: npt.NDArray[np.bool_]  # (cells,) any such call in the days whose counts are kept

    @property
    def cells(self) -> Cells:
        """Those with history."""
        return np.flatnonzero(self.has_history).astype(np.int32)


def usual_week(spec: Spec, constants: BaselineConstants, state: CountState, shift: Hours = ALL_DAY) -> Demand:
    """The baseline's expectation at the state's time, over a week's hours of the shift.

    Raises ArtifactError where nothing is answered, DataError where no call is on record.
    """
    answered = answered_columns(spec)
    features = FeatureEngine(spec, constants).compute(state)
    log_usual = features.values[:, :, usual_columns(len(spec.horizons_s))][:, :, -1].astype(np.float64)
    per_hour = np.exp(log_usual) / horizon_hours(constants, state.tick_s, spec)[:, :, -1]
    served = HOURS_OF_BLOCK * np.tile(shift, 7)
    hours = np.einsum("bw,kw->kb", served, constants.profile)  # of average rate, in each block of the day
    has_history = np.asarray((features.support[:, answered] > 0).any(axis=1))
    if not has_history.any():
        categories = ", ".join(spec.answered_by)
        raise DataError(f"no call is on record in {spec.region} for {categories}", "train on a file with such calls")
    week = per_hour * np.einsum("ckb,kb->ck", constants.day_lift, hours)
    return Demand(expected=week[:, answered].sum(axis=1), has_history=has_history)

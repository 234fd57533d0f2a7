"""What is expected of the calls that standing units answer: from the artifact's data alone, by hours of the week."""

import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.baseline import BaselineConstants, horizon_hours
from models.counting.count_state import CountState
from models.feature_lists import usual_columns
from models.features import FeatureEngine
from models.local_time import HOURS_OF_BLOCK, hour_of_week
from models.readiness.answer import answered_columns
from schemas.errors import DataError, SettingsError
from schemas.grid import Floats
from schemas.spec import Spec


@dataclass(frozen=True, slots=True)
class Shift:
    """Whole hours of the local day, from begin until end, which may lie beyond midnight."""

    begin: int = 0
    end: int = 24

    @classmethod
    def of(cls, text: str) -> "Shift":
        """Raises SettingsError for what is no such thing.

        >>> Shift.of("19-07").hours.sum()
        np.int64(12)
        """
        match = re.fullmatch(r"(\d\d?)-(\d\d?)", text)
        begin, end = map(int, match.groups()) if match else (0, 0)
        if not (0 <= begin < 24 and 0 < end <= 24 and begin != end):
            raise SettingsError(
                f"--shift {text} is no part of a day",
                "give the whole hours of its beginning and its end, like 07-19 or 19-07",
            )
        return cls(begin, end)

    @property
    def hours(self) -> npt.NDArray[np.bool_]:
        """(24,) whether each hour of the day is among them."""
        return np.asarray((np.arange(24) - self.begin) % 24 < ((self.end - self.begin) % 24 or 24))

    def has(self, at_s: npt.NDArray[np.int64], timezone: str) -> npt.NDArray[np.bool_]:
        """(n,) whether each instant, in epoch seconds, lies in it."""
        return self.hours[(hour_of_week(at_s, timezone) % 24).astype(np.intp)]

    def __str__(self) -> str:
        return f"{self.begin:02d} to {self.end:02d} h"


ALL_DAY = Shift()


@dataclass(frozen=True, slots=True, kw_only=True)
class Demand:
    """In a usual week, of the categories that units answer together."""

    expected: Floats  # (cells,) calls in the week
    has_history: npt.NDArray[np.bool_]  # (cells,) any such call in the days whose counts are kept
    categories: tuple[str, ...]


def usual_week(spec: Spec, constants: BaselineConstants, state: CountState, shift: Shift = ALL_DAY) -> Demand:
    """The baseline's expectation at the state's time, over a week's hours of the shift.

    Raises ArtifactError where nothing is answered, DataError where no call is on record.
    """
    answered = answered_columns(spec)
    features = FeatureEngine(spec, constants).compute(state)
    log_usual = features.values[:, :, usual_columns(len(spec.horizons_s))][:, :, -1].astype(np.float64)
    per_hour = np.exp(log_usual) / horizon_hours(constants, state.tick_s, spec)[:, :, -1]
    served = HOURS_OF_BLOCK * np.tile(shift.hours, 7)
    hours = np.einsum("bw,kw->kb", served, constants.profile)  # of average rate, in each block of the day
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

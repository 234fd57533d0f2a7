"""One region's scores at one moment: what the model gives and what is shown and stored."""

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schemas.spec import Spec

SUPPORT = ("no_history", "sparse", "ok")  # the code in `RiskFrame.support` is the position here
BASELINE_MODEL = "baseline"


@dataclass(frozen=True, slots=True, kw_only=True)
class RiskFrame:
    """Arrays are (cells, categories, horizons) unless said otherwise; cells in grid order (row * cols + col)."""

    spec: Spec
    as_of_s: int  # the region's clock, epoch seconds UTC
    model: str  # artifact version, or "baseline" / "baseline:<why the network did not answer>"
    expected: npt.NDArray[np.float32]  # incidents within the horizon from as_of
    risk: npt.NDArray[np.float32]  # probability of at least one, 0..1
    low: npt.NDArray[np.float32]  # 5 % quantile of the predictive count
    high: npt.NDArray[np.float32]  # 95 % quantile of the predictive count
    usual: npt.NDArray[np.float32]  # the baseline's expected
    observed_1h: npt.NDArray[np.int32]  # (cells, categories) incidents counted in the last hour
    support: npt.NDArray[np.uint8]  # (cells, categories) position in SUPPORT

    @property
    def tick_s(self) -> int:
        """Timestamp of the frame's points: as_of floored to the tick, so replays overwrite."""
        return self.as_of_s - self.as_of_s % self.spec.tick_s

    def digest(self) -> str:
        """16 hex digits of everything that is stored of the frame: equal ones are equal to the last bit."""
        seal = hashlib.blake2b(f"{self.as_of_s} {self.model}".encode(), digest_size=8)
        for array in (self.expected, self.risk, self.low, self.high, self.usual, self.observed_1h, self.support):
            seal.update(array.tobytes())
        return seal.hexdigest()

"""How far counts lie around their mean."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor

Floats = npt.NDArray[np.float64]
AnyFloats = npt.NDArray[np.floating]

LEAST_GAIN = 5e-4  # of a validation loss, for what is less simple to be kept: chance alone gains 1e-4
# Nats of the validation block's log likelihood that a choice gains at least over the usual one. Where steps do not
# overlap, one that is no better gains as much with a chance of exp(-5) at most; horizons of a day that are asked every
# few hours count an incident several times, and gain as much in a few of a hundred cases. Source: the universal bound
# of Royall, On the probability of observing misleading statistical evidence, Journal of the American Statistical
# Association 95, 2000.
LEAST_NATS = 5.0
QUADRATIC, LINEAR = 0.0, 1.0  # powers: how the variance beyond the mean grows with the mean


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dispersion:
    """How far counts lie around their mean m: size = r * m**power.

    QUADRATIC: variance = m + m**2 / r, as when the mean itself is uncertain. LINEAR: variance = m + m / r, as when one
    incident is reported several times. Source: the forms NB2 and NB1 of Cameron and Trivedi, Econometric models based
    on count data, Journal of Applied Econometrics 1, 1986.
    """

    r: Floats  # of any shape, > 0
    power: Floats  # of the same shape: QUADRATIC or LINEAR

    @classmethod
    def quadratic(cls, r: Floats) -> "Dispersion":
        return cls(r=np.asarray(r, np.float64), power=np.full(np.shape(r), QUADRATIC))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dispersion) and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name in ("r", "power")
        )

    __hash__ = None  # type: ignore[assignment]

    def __getitem__(self, place: Any) -> "Dispersion":
        """The dispersion of one place, or of several."""
        return Dispersion(r=np.asarray(self.r[place]), power=np.asarray(self.power[place]))

    def size(self, mean: AnyFloats) -> AnyFloats:
        """The size at each mean; r and power are broadcast against it. Gives mean's type."""
        r = self.r.astype(mean.dtype)
        return np.asarray(np.where(self.power == LINEAR, r * mean, r) if self.power.any() else r)

    def widened(self, variance: Floats, mean: AnyFloats) -> "Dispersion":
        """The dispersion of counts whose mean has a factor that is uncertain, common to all cells.

        variance: (categories, horizons) of the factor over its mean's square. mean: (cells, categories, horizons), by
        whose incidents the linear form is as wide as the quadratic one. Two digits are kept: tables of quantiles are
        remembered by r.
        """
        of_incidents = (mean.astype(np.float64) ** 2).sum(axis=0) / np.maximum(mean.sum(axis=0, dtype=np.float64), 1e-9)
        more = variance * np.where(self.power == LINEAR, of_incidents, 1.0)
        wide = 1 / ((1 + variance) / self.r + more)
        digits = 10 ** np.floor(np.log10(wide) - 1)
        rounded = np.minimum(np.maximum(np.round(wide / digits), 1) * digits, self.r)
        r = np.where(variance > 0, rounded, self.r)
        return Dispersion(r=r, power=np.broadcast_to(self.power, r.shape))

    def tensor_size(self, mean: "Tensor") -> "Tensor":
        """What `size` gives, as a tensor on the device of `mean`."""
        r, power = mean.new_tensor(self.r), mean.new_tensor(self.power)
        return (r * mean).where(power == LINEAR, r) if self.power.any() else r

    def excess(self, mean: AnyFloats) -> AnyFloats:
        """mean / size: the variance over the mean, less 1. Shapes and type as those of `size`."""
        r = self.r.astype(mean.dtype)
        return np.asarray(np.where(self.power == LINEAR, 1, mean) / r if self.power.any() else mean / r)

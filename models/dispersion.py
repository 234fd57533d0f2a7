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

    def tensor_size(self, mean: "Tensor") -> "Tensor":
        """What `size` gives, as a tensor on the device of `mean`."""
        r, power = mean.new_tensor(self.r), mean.new_tensor(self.power)
        return (r * mean).where(power == LINEAR, r) if self.power.any() else r

    def excess(self, mean: AnyFloats) -> AnyFloats:
        """mean / size: the variance over the mean, less 1. Shapes and type as those of `size`."""
        r = self.r.astype(mean.dtype)
        return np.asarray(np.where(self.power == LINEAR, 1, mean) / r if self.power.any() else mean / r)

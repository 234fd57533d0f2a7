"""By how much a factor on a forecast makes counts likelier: the difference of two log scores, cheaply and exactly."""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

from models.dispersion import LINEAR, Dispersion, Floats

Integers = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SomeCounts:
    """The counts above 0 of one forecast, which are few."""

    place: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]  # category, cell
    count: Integers

    @classmethod
    def of(cls, counts: Integers) -> Self:
        """counts: (categories, cells)."""
        place = np.nonzero(counts)
        return cls(place=(place[0], place[1]), count=counts[place])


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreGain:
    """The log score of the negative binomial at one horizon; (categories, cells), or (categories, 1) for all cells."""

    r: Floats
    is_linear: npt.NDArray[np.bool_]
    at_none: Floats  # what one expected incident costs where none comes, if the dispersion is linear

    @classmethod
    def of(cls, dispersion: Dispersion) -> Self:
        """dispersion: (categories,), or (cells, categories)."""
        r, power = (of.T if of.ndim > 1 else of[:, None] for of in (dispersion.r, dispersion.power))
        r = np.ascontiguousarray(r)
        return cls(r=r, is_linear=np.ascontiguousarray(power == LINEAR), at_none=r * np.log1p(1 / r))

    def gained(self, before: Floats, factors: Floats, some: SomeCounts) -> Floats:
        """(categories,) nats by which the counts are likelier with the factors than without.

        before: (categories, cells) expected without them, > 0. factors: of that shape, or (categories, 1). All counts
        that are not among `some` are 0.
        """
        more = before * (factors - 1)
        (category, cell), count = some.place, some.count
        place = (category, cell if self.r.shape[1] > 1 else np.zeros_like(cell))
        r, old = self.r[place], before[some.place]
        new = old + more[some.place]
        if self.is_linear.all():
            none = more * self.at_none
        else:
            none = self.r * np.log1p(more / (self.r + before))
            if self.is_linear.any():
                none = np.where(self.is_linear, more * self.at_none, none)
        linear = gammaln(count + r * new) - gammaln(r * new) - gammaln(count + r * old) + gammaln(r * old)
        quadratic = count * (np.log(new / old) - np.log1p((new - old) / (r + old)))
        came = np.where(self.is_linear[place], linear, quadratic)
        return np.asarray(np.bincount(category, weights=came, minlength=len(before)) - none.sum(axis=1))

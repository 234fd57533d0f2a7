"""By how much a factor on a forecast makes counts likelier: the difference of two log scores, cheaply and exactly."""

from dataclasses import dataclass, replace
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
    count: npt.NDArray[np.number]

    @classmethod
    def of(cls, counts: Integers) -> Self:
        """counts: (cells, categories)."""
        (places,) = np.nonzero(counts.ravel())
        cell, category = np.divmod(places, counts.shape[1])
        return cls(place=(category, cell), count=counts[cell, category])

    def at_most(self, most: Floats) -> Self:
        """The counts of each category, scaled down where their sum is above `most`, (categories, 1)."""
        category, _ = self.place
        total = np.bincount(category, weights=self.count, minlength=len(most))
        share = np.minimum(1.0, most[:, 0] / np.maximum(total, 1.0))
        return replace(self, count=self.count * share[category])


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
        more = (factors - 1) * before
        none = np.where(self.is_linear, more * self.at_none, self.r * np.log1p(more / (self.r + before)))
        (category, cell), count = some.place, some.count
        place = (category, cell if self.r.shape[1] > 1 else np.zeros_like(cell))
        r, old, up = self.r[place], before[some.place], more[some.place]
        quadratic = count * (np.log1p(up / old) - np.log1p(up / (r + old)))
        came = np.where(self.is_linear[place], _linear(r, old, up, count), quadratic)
        return np.asarray(np.bincount(category, weights=came, minlength=len(before)) - none.sum(axis=1))


def _linear(r: Floats, old: Floats, up: Floats, count: npt.NDArray[np.number]) -> Floats:
    """(n,) nats that counts above 0 are likelier around `old + up` than around `old`, but for what 0 would cost."""
    low, high = r * old, r * (old + up)
    return np.asarray(gammaln(count + high) - gammaln(high) - gammaln(count + low) + gammaln(low))

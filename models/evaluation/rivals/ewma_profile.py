"""Long-memory rate of each cell times the region's week: the rival that is hard to beat."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import ClassVar

from models.cube import Cube, Floats
from models.evaluation.rivals.known import known_steps, mean_counts, week_profile, week_slots
from models.evaluation.rivals.means import ewma_rates
from models.evaluation.rivals.rule import best_of


@dataclass(frozen=True, slots=True, kw_only=True)
class EwmaProfile:
    """Chooses the half-life, and whether half of the rate is the expanding mean."""

    half_lives_days: tuple[float, ...] = (30.0, 60.0, 120.0, 240.0, 480.0)
    expanding_shares: tuple[float, ...] = (0.0, 0.5)
    name: ClassVar[str] = "EWMA x week"

    def fit(self, past: Cube, validation: int, *, delay: int = 0) -> "FittedEwmaProfile":
        profile = week_profile(past.until(validation))
        candidates = (
            FittedEwmaProfile(half_life_days=half_life, expanding_share=share, profile=profile)
            for half_life, share in product(self.half_lives_days, self.expanding_shares)
        )
        return best_of(candidates, past, validation, delay=delay)


@dataclass(frozen=True, slots=True, kw_only=True)
class FittedEwmaProfile:
    half_life_days: float
    expanding_share: float
    profile: Floats  # (steps_per_week, categories), mean 1

    @property
    def chosen(self) -> Mapping[str, float]:
        return {"half_life_days": self.half_life_days, "expanding_share": self.expanding_share}

    def forecast(self, cube: Cube, first: int, *, delay: int = 0) -> Iterator[Floats]:
        slots = week_slots(cube)[first:]
        for slot, rate in zip(slots, self._rates(cube, known_steps(cube, first, delay)), strict=True):
            yield rate * self.profile[slot]

    def _rates(self, cube: Cube, known: list[int]) -> Iterator[Floats]:
        rates, share = ewma_rates(cube, known, self.half_life_days), self.expanding_share
        if not share:
            return rates
        means = mean_counts(cube.counts, known)
        return ((1 - share) * rate + share * mean for rate, mean in zip(rates, means, strict=True))

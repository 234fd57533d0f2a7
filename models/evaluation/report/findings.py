"""Differences in percent and times, as a report shows them."""

from dataclasses import dataclass

from models.comparison import Difference


@dataclass(frozen=True, slots=True)
class Against:
    """A model's difference to a rival, in percent of the rival's NB log score; below zero is better."""

    difference: Difference
    score: float  # the rival's NB log score

    @property
    def percent(self) -> tuple[float, float, float]:
        """Mean, low and high of the 95 % interval."""
        difference = self.difference
        return 100 * difference.mean / self.score, 100 * difference.low / self.score, 100 * difference.high / self.score

    @property
    def texts(self) -> tuple[str, str, str]:
        """Mean, low and high in words: signed, with digits that fit the size."""
        largest = max(map(abs, self.percent))
        digits = 0 if largest >= 100 else 1 if largest >= 10 else 2 if largest >= 0.1 else 3
        mean, low, high = (f"{share:+.{digits}f}" for share in self.percent)
        return mean, low, high

    @property
    def size(self) -> str:
        return self.texts[0].lstrip("+-")

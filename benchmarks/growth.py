"""Does a quantity grow? Slopes by least squares over the last half of a run, each against its bound."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MIB = 2.0**20
CLEANED_S = 120  # Spark cleans up at least once in it
Samples = Mapping[str, npt.NDArray[np.float64]]  # by name, one value per sample; NaN where it was not measured


@dataclass(frozen=True, slots=True)
class Bound:
    """How much a quantity may grow in an hour; `share` of its mean over the fitted span, and `at_least`."""

    name: str  # of the samples
    words: str
    unit: str
    share: float
    at_least: float
    reason: str
    digits: int = 0
    is_sawtooth: bool = False  # grows until Spark cleans up: what is left then is judged, the least of each 2 minutes

    def judged(self, samples: Samples) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Times and values that a line is fitted to."""
        t_s, values = samples["t_s"], samples[self.name]
        return troughs(t_s, values) if self.is_sawtooth else (t_s, values)

    def per_hour(self, mean: float) -> float:
        return max(self.share * mean, self.at_least)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthVerdict:
    """One quantity of a run."""

    bound: Bound
    at_middle: float
    at_end: float
    slope_per_hour: float
    noise_per_hour: float  # twice the slope's standard error
    most_per_hour: float

    @property
    def is_beyond(self) -> bool:
        """By more than the noise of other work on the machine explains."""
        return self.slope_per_hour - self.noise_per_hour > self.most_per_hour

    @property
    def is_within(self) -> bool:
        return self.slope_per_hour <= self.most_per_hour

    @property
    def words(self) -> str:
        if self.is_beyond:
            return "beyond"
        return "within" if self.is_within else "not told from noise"


def slope_per_hour(t_s: npt.NDArray[np.float64], values: npt.NDArray[np.float64]) -> float:
    """Slope of the least-squares line, per hour. Raises ValueError for fewer than 3 samples: a line says nothing then.

    >>> slope_per_hour(np.array([0.0, 1800.0, 3600.0]), np.array([5.0, 6.0, 7.0]))
    2.0
    """
    there = np.isfinite(values)
    if there.sum() < 3:
        raise ValueError(f"{there.sum()} samples are too few for a slope: run longer")
    t_h, y = t_s[there] / 3600, values[there]
    t_h = t_h - t_h.mean()
    return float((t_h * (y - y.mean())).sum() / (t_h**2).sum())


def noise_per_hour(t_s: npt.NDArray[np.float64], values: npt.NDArray[np.float64]) -> float:
    """Twice the standard error of the slope, from means over a minute: samples seconds apart are much alike.

    0 when there are fewer than 3 minutes: nothing is then excused as noise.
    """
    there = np.isfinite(values)
    _, minute = np.unique(t_s[there] // 60, return_inverse=True)
    size = np.bincount(minute)
    if len(size) < 3:
        return 0.0
    x, y = (np.bincount(minute, weights=axis[there]) / size for axis in (t_s / 3600, values))
    x, y = x - x.mean(), y - y.mean()
    slope = (x * y).sum() / (x**2).sum()
    return float(2 * np.sqrt(((y - slope * x) ** 2).sum() / (len(x) - 2) / (x**2).sum()))


def ledger_faults(ledger: Mapping[str, int], expected: Mapping[str, int]) -> list[str]:
    """Where the ledger is not what was sent, in words; empty when it is."""
    outcomes = ("counted", "corrected", "duplicate", "repeated", "excluded", "rejected")
    faults = [
        f"{name}: {ledger.get(name, 0):,} in the ledger, {expected.get(name, 0):,} were sent"
        for name in ("consumed", *outcomes)
        if ledger.get(name, 0) != expected.get(name, 0)
    ]
    if ledger.get("consumed", 0) != sum(ledger.get(name, 0) for name in outcomes):
        faults.append(f"the ledger does not balance: {dict(ledger)}")
    return faults


def troughs(
    t_s: npt.NDArray[np.float64], values: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Time and value of the least sample in each CLEANED_S seconds."""
    span = t_s // CLEANED_S
    least = [np.flatnonzero(span == each)[np.nanargmin(values[span == each])] for each in np.unique(span)]
    return t_s[least], values[least]


def judge(samples: Samples, bounds: Sequence[Bound], *, from_s: float) -> list[GrowthVerdict]:
    """A verdict per bound, from the samples at or after `from_s`. Values are medians of its first and last tenth."""
    verdicts = []
    for bound in bounds:
        t, values = bound.judged(samples)
        t, values = t[t >= from_s], values[t >= from_s]
        there = values[np.isfinite(values)]
        few = max(1, len(there) // 10)
        verdicts.append(
            GrowthVerdict(
                bound=bound,
                at_middle=float(np.median(there[:few])),
                at_end=float(np.median(there[-few:])),
                slope_per_hour=slope_per_hour(t, values),
                noise_per_hour=noise_per_hour(t, values),
                most_per_hour=bound.per_hour(float(there.mean())),
            )
        )
    return verdicts


_PYTHON = (
    "the runs showed 9 and 31 at most, noise included; a batch that is kept (138 KiB a region) would "
    "be 480 MiB a region"
)
_NATIVE = "no collection frees it; a state store that is kept would be more"
_LIVE = "counts by the day, and what Spark lets go of late; a batch that is kept would be more"
_CLASSES = "compiling ends after a while; a class for every batch would be more"
_CLOSED = "one in hundreds of batches: what a batch or an artifact opens, it must close"
_KEPT = "Spark keeps 20 batches and cleans up about every minute; the least of each 2 minutes is judged"
_STATE = (
    "counts by the day may add 21 MiB an hour by design; incidents that are never forgotten would add more than 100"
)
_PACE = "a job that slows down as it ages would fall behind without end"
BOUNDS = (  # name, words, unit, share, at least, reason
    Bound("driver_mib", "memory of the driver", "MiB", 0, 20, _PYTHON),
    Bound("workers_mib", "memory of all Python workers", "MiB", 0, 50, _PYTHON),
    Bound("beyond_heap_mib", "JVM memory beyond its heap", "MiB", 0, 100, _NATIVE),
    Bound("heap_mib", "JVM heap after a full collection", "MiB", 0, 30, _LIVE),
    Bound("outside_mib", "JVM classes and compiled code", "MiB", 0, 50, _CLASSES),
    Bound("files", "open files, driver and JVM", "files", 0, 20, _CLOSED),
    Bound("threads", "threads, driver and JVM", "threads", 0, 20, _CLOSED),
    Bound("checkpoint_files", "files of the checkpoint", "files", 0.2, 20, _KEPT, is_sawtooth=True),
    Bound("checkpoint_mib", "Spark's checkpoint", "MiB", 0.2, 30, _STATE),
    Bound("state_mib", "the state in it", "MiB", 0.2, 30, _STATE),
    Bound("local_mib", "Spark's temporary files", "MiB", 0.2, 30, _STATE, is_sawtooth=True),
    Bound("batch_s", "seconds a batch, mean", "s", 0.5, 0.5, _PACE, digits=2),
    Bound("lag_events", "events not in the ledger yet", "events", 0.5, 2000, _PACE),
)

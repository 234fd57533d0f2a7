"""Network against baseline, over all cells, on a block of time that no choice has used."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from models.baseline import BaselineConstants
from models.comparison import BLOCK_DAYS, LEAST_BLOCKS, LEAST_JUDGED, difference_of
from models.dispersion import LEAST_GAIN
from models.likelihood import log_scores, poisson_deviance
from models.measures import NO_INTERVALS, Intervals, by_places, intervals_of
from models.training.fit_baseline import JUDGED_PERCENT
from schemas.spec import DAY_S, Spec

TOP_SHARE = 0.05  # of the cells with any history, as a plan of an evening may name
BLOCK_S = BLOCK_DAYS * DAY_S  # bootstrap blocks: moments whose horizons overlap must be drawn together
_JUDGED = f"the time that is judged, the last {JUDGED_PERCENT} %"
LACKS: Mapping[str, str] = {  # of verdicts that say nothing
    "too few": f"fewer than {LEAST_JUDGED} incidents lie in {_JUDGED}; give a longer file",
    "too short": f"fewer than {LEAST_BLOCKS} blocks of {BLOCK_DAYS} days lie in {_JUDGED}; give at least "
    f"{LEAST_BLOCKS * BLOCK_DAYS * 100 // JUDGED_PERCENT} days",
}
NO_GAIN = (
    f"The network gains nothing over the baseline here: less than {LEAST_GAIN:.2%} of its log score at each horizon. "
    "The baseline is as good; serve it, or give more data"
)
Array = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """One moment, summed over all cells: (categories, horizons) each, [0] of the baseline and [1] of the network."""

    as_of_s: int
    deviance: tuple[Floats, Floats]
    log_score: tuple[Floats, Floats]
    forecast: tuple[Floats, Floats]
    actual: Floats
    caught: Floats  # of the actual, in the TOP_SHARE of the cells with any history that the network puts first
    intervals: tuple[Intervals, ...]  # (horizons,) of the network


@dataclass(frozen=True, slots=True, kw_only=True)
class HorizonResult:
    """One line of the table: means over cells, categories and moments; differences are network - baseline."""

    horizon: str
    baseline_deviance: float
    network_deviance: float
    baseline_log_score: float
    network_log_score: float
    difference: float  # of the log scores, below zero is better
    difference_low: float
    difference_high: float
    forecast_over_actual: float
    baseline_over_actual: float
    coverage_90: float  # of the network's intervals, by the randomised PIT
    hit_rate: float  # share of the incidents in the network's TOP_SHARE of the cells with any history, by category
    verdict: str

    def difference_text(self) -> str:
        """The difference and its interval, in percent of the baseline's log score."""
        shares = (self.difference, self.difference_low, self.difference_high)
        middle, low, high = (100 * share / self.baseline_log_score for share in shares)
        return f"{middle:+.2f} % ({low:+.2f}, {high:+.2f})"


def tally_of(
    as_of_s: int,
    usual: Array,
    expected: Array,
    counts: npt.NDArray[np.int32],
    c: BaselineConstants,
    lively: npt.NDArray[np.intp],
) -> Tally:
    """Compare two forecasts of one moment. usual, expected, counts: (cells, categories, horizons).

    lively: the cells with any history.
    """
    observed, of_network = torch.from_numpy(counts).double(), c.dispersion_in_cells(of_network=True)
    means = [mean.astype(np.float64) for mean in (usual, expected)]
    logs = [torch.from_numpy(mean).log() for mean in means]
    deviance = [poisson_deviance(log_mean, observed).sum(dim=0).numpy() for log_mean in logs]
    log_score = [
        log_scores(mean, counts, dispersion).sum(axis=0)
        for mean, dispersion in zip(means, (c.dispersion_in_cells(of_network=False), of_network), strict=True)
    ]
    uniform = np.random.default_rng(as_of_s).random(counts.shape)
    return Tally(
        as_of_s=as_of_s,
        deviance=(deviance[0], deviance[1]),
        log_score=(log_score[0], log_score[1]),
        forecast=(usual.sum(axis=0, dtype=np.float64), expected.sum(axis=0, dtype=np.float64)),
        actual=counts.sum(axis=0).astype(np.float64),
        caught=_caught(means[1][lively], counts[lively]),
        intervals=tuple(
            intervals_of(means[1][..., h], counts[..., h], of_network[..., h], uniform[..., h])
            for h in range(counts.shape[2])
        ),
    )


def _caught(mean: Floats, counts: npt.NDArray[np.int32]) -> Floats:
    """(categories, horizons) incidents in the TOP_SHARE of the cells."""
    most = max(1, round(TOP_SHARE * len(mean)))
    of_horizons = (by_places(of.T, counts[:, :, number].T) for number, of in enumerate(np.moveaxis(mean, 2, 0)))
    return np.stack([credit[:, :most].sum(axis=1) for credit, _ in of_horizons], axis=1)


def horizon_results(tallies: list[Tally], spec: Spec, *, judged: int, seed: int) -> list[HorizonResult]:
    """A result for each horizon, with a block-bootstrap 95 % interval of the difference of the log scores.

    judged: incidents of the time that is judged; with too few there is no verdict.
    """
    block = np.unique([moment.as_of_s // BLOCK_S for moment in tallies], return_inverse=True)[1]
    values = spec.grid.cells * len(spec.categories)
    results = []
    for horizon, name in enumerate(spec.horizon_names):
        deviance, log_score, forecast = (
            np.array([[side[:, horizon].sum() for side in getattr(moment, figure)] for moment in tallies], np.float64)
            for figure in ("deviance", "log_score", "forecast")
        )  # (moments, 2) each: baseline and network
        actual = max(float(sum(moment.actual[:, horizon].sum() for moment in tallies)), 1.0)
        per_moment = (log_score[:, 1] - log_score[:, 0]) / values
        compared = difference_of(per_moment[None], block, np.random.default_rng(seed))
        caught = sum(moment.caught[:, horizon].sum() for moment in tallies)
        intervals = sum((moment.intervals[horizon] for moment in tallies), NO_INTERVALS)
        deviances, mean_log_scores = (sums.mean(axis=0) / values for sums in (deviance, log_score))
        results.append(
            HorizonResult(
                horizon=name,
                baseline_deviance=float(deviances[0]),
                network_deviance=float(deviances[1]),
                baseline_log_score=float(mean_log_scores[0]),
                network_log_score=float(mean_log_scores[1]),
                difference=compared.mean,
                difference_low=compared.low,
                difference_high=compared.high,
                forecast_over_actual=float(forecast[:, 1].sum() / actual),
                baseline_over_actual=float(forecast[:, 0].sum() / actual),
                coverage_90=intervals.figures()["coverage_90"],
                hit_rate=float(caught / actual),
                verdict=compared.verdict if judged >= LEAST_JUDGED else "too few",
            )
        )
    return results


def gains_nothing(rows: Sequence[HorizonResult]) -> bool:
    """Whether the network is nowhere better than the baseline by as much as a fit asks of its linear start."""
    return all(row.verdict != "better" and -row.difference < LEAST_GAIN * row.baseline_log_score for row in rows)


def remarks(rows: Sequence[HorizonResult]) -> Iterator[str]:
    """What a verdict lacks, and that nothing is gained: for those who read the table."""
    for verdict in dict.fromkeys(row.verdict for row in rows):
        if verdict in LACKS:
            yield f"{verdict}: {LACKS[verdict]}"
    if gains_nothing(rows):
        yield NO_GAIN


def calibration(tallies: list[Tally], categories: tuple[str, ...], horizon: int) -> dict[str, float]:
    """Category -> the network's forecast over the observed number, for one horizon."""
    forecast = np.stack([moment.forecast[1][:, horizon] for moment in tallies]).sum(axis=0, dtype=np.float64)
    actual = np.stack([moment.actual[:, horizon] for moment in tallies]).sum(axis=0, dtype=np.float64)
    return {name: float(f / max(a, 1.0)) for name, f, a in zip(categories, forecast, actual, strict=True)}

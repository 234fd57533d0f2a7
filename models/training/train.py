"""Training: a history in, what serves and its table out. The same counting and the same features as in the stream.

The table is network against baseline, over all cells, on a block of time that no choice has used.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch

from models.baseline import BaselineConstants
from models.comparison import ADDS_NOTHING, BLOCK_DAYS, LEAST_BLOCKS, LEAST_JUDGED, difference_of
from models.counting.count_state import CountState
from models.dispersion import log_scores, poisson_deviance
from models.features import FeatureEngine
from models.measures import NO_INTERVALS, Floats, Intervals, intervals_of
from models.network import RiskNetwork
from models.network_kinds import DEFAULT, Hyperparameters
from models.outcomes import by_places
from models.scoring import means
from models.training.fit_baseline import (
    JUDGED_PERCENT,
    Blocks,
    choose,
    choose_spread,
    common_spreads,
    constants_until,
    dispersion_of_network,
    factor_losses,
    fit_nowcast,
    likeliest_dispersion,
    likeliest_factors,
)
from models.training.fit_network import (
    Examples,
    Fit,
    FitData,
    FitPlan,
    FitState,
    FittedNetwork,
    cells_to_learn,
    collect,
    fit_network,
    log_expected,
    random_moments,
)
from models.training.replay import IncidentHistory, Replay
from schemas.spec import DAY_S, Spec

ReportProgress = Callable[[str, float], None]  # (what, how far 0..1)
TOP_SHARE = 0.05  # of the cells with any history, as a plan of an evening may name
BLOCK_S = BLOCK_DAYS * DAY_S  # bootstrap blocks: moments whose horizons overlap must be drawn together
_JUDGED = f"the time that is judged, the last {JUDGED_PERCENT} %"
LACKS: Mapping[str, str] = {  # of verdicts that say nothing
    "too few": f"fewer than {LEAST_JUDGED} incidents lie in {_JUDGED}; give a longer file",
    "too short": f"fewer than {LEAST_BLOCKS} blocks of {BLOCK_DAYS} days lie in {_JUDGED}; give at least "
    f"{LEAST_BLOCKS * BLOCK_DAYS * 100 // JUDGED_PERCENT} days",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOptions:
    """How a network is trained."""

    step_s: int  # between two moments, on average; each lies at a random second
    epochs: int  # at most
    seed: int
    recipe: Hyperparameters = DEFAULT


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What training gives. `constants` and `network` serve; `rows` and `tallies` are of those that were judged."""

    past: IncidentHistory
    constants: BaselineConstants
    network: RiskNetwork
    history: CountState  # at the cut-off
    blocks: Blocks
    rows: list[HorizonResult]
    tallies: list[Tally]
    examples: int  # that the judged network learned from


def train(
    past: IncidentHistory, options: TrainingOptions, *, report: ReportProgress, fit: Fit = fit_network
) -> Trained:
    """Fit on the first 70 % of the time, choose on the next 15 %, judge on the rest; then fit again on all of it.

    The second fit is what serves. It keeps all that was chosen, so that it needs no time that it has not seen:
    half-life, shrinkage, priors, dispersions, how far that of cells lies from it, the start of the network and its
    number of epochs.
    """
    blocks, random = Blocks.of(past.first_s, past.cutoff_s), np.random.default_rng(options.seed)

    def report_replay(as_of_s: int) -> None:
        report("replay", (as_of_s - past.first_s) / (past.cutoff_s - past.first_s))

    def moments(start_s: int, end_s: int) -> list[int]:
        """Random moments whose horizons end before `end_s`, and are about no hour that is cut out."""
        longest_s = max(past.spec.horizons_s)
        return past.clear_of_cuts(random_moments(start_s, end_s - longest_s, options.step_s, random), longest_s)

    def fitted(
        learned: Examples, validation: Examples, constants: BaselineConstants, kept: FitState | None = None
    ) -> FittedNetwork:
        """Reports the least validation loss so far, of a fit that has one."""
        least = 1.0  # that of the untrained network

        def after_epoch(epoch: int, loss: float) -> None:
            nonlocal least
            if kept is None:
                least = min(least, loss)
                report(f"network: validation {least:.4f} of the baseline's", epoch / options.epochs)
            else:
                report("on all data", min(epoch / max(kept.epoch, 1), 1))

        repeats = tuple(max(horizon_s / options.step_s, 1.0) for horizon_s in past.spec.horizons_s)
        plan = FitPlan(recipe=options.recipe, epochs=options.epochs, seed=options.seed, kept=kept, repeats=repeats)
        data = FitData(train=learned, validation=validation, dispersion=constants.dispersion)
        fit_of_data = fit(data, plan, after_epoch)
        after_epoch(options.epochs, least)  # patience may end before the last epoch
        return fit_of_data

    def losses_of_factors(
        examples: Examples, cells: npt.NDArray[np.intp], constants: BaselineConstants, network: RiskNetwork
    ) -> Floats:
        """The losses of each cell's factor on the dispersion, around the baseline or a network with a dispersion.

        What a network knows must not look like a cell that spreads wider.
        """
        of_network = constants.network_dispersion
        log_mean = log_expected(network, examples) if of_network else examples.log_usual
        dispersion = of_network or constants.dispersion
        return factor_losses(log_mean, examples.counts, cells, dispersion, past.spec.grid.cells)

    choices = choose(past, blocks, partial(report, "baseline"))
    constants = constants_until(past, blocks.validation_s, choices)
    report("baseline", 1)
    of_totals, of_sums = common_spreads(past, constants, blocks.burn_in_s, blocks.test_s)
    nowcast = fit_nowcast(past, constants, blocks.burn_in_s, blocks.test_s)
    constants = replace(constants, spread_of_totals=of_totals, spread_of_sums=of_sums, nowcast=nowcast)
    edges_s = (blocks.burn_in_s, blocks.validation_s, blocks.test_s, blocks.end_s)
    train_at, validate_at, test_at = (moments(*span_s) for span_s in pairwise(edges_s))
    replay, engine = Replay(past), FeatureEngine(past.spec, constants, past.counts_before)
    cells = cells_to_learn(past, blocks.validation_s, random)
    learned, learned_cells = collect(replay, engine, train_at, cells, random, report_replay)
    every_cell = np.arange(past.spec.grid.cells)
    validation, validation_cells = collect(replay, engine, validate_at, every_cell, random, report_replay)
    dispersion = likeliest_dispersion(validation.log_usual, validation.counts)
    constants = replace(constants, dispersion=dispersion)
    network, kept = fitted(learned, validation, constants)
    of_network = dispersion_of_network(log_expected(network, validation), validation.counts, dispersion)
    constants = replace(constants, network_dispersion=of_network)
    before = losses_of_factors(learned, learned_cells, constants, network)
    after = losses_of_factors(validation, validation_cells, constants, network)
    spread = choose_spread(before, after)
    if spread.any():
        constants = replace(constants, cell_dispersion=likeliest_factors(before + after, spread))
    tallies, lively = [], np.flatnonzero(past.counts(past.first_s, blocks.test_s).any(axis=1))
    for as_of_s in test_at:
        report_replay(as_of_s)
        usual, expected = means(engine.compute(replay.lead_to(as_of_s)).values, network, past.spec)
        tallies.append(tally_of(as_of_s, usual, expected, past.coming(as_of_s), constants, lively))
    report("replay", 1)
    came, examples = len(past.uncut(blocks.test_s, blocks.end_s)), len(learned_cells)
    rows = horizon_results(tallies, past.spec, judged=came, seed=options.seed)

    del learned, validation, before, after  # their memory is needed: the fit that serves learns from all of the time
    constants = replace(
        constants_until(past, past.cutoff_s, choices),
        dispersion=dispersion,
        network_dispersion=of_network,
        spread_of_totals=of_totals,
        spread_of_sums=of_sums,
        nowcast=nowcast,
    )
    replay, engine = Replay(past), FeatureEngine(past.spec, constants, past.counts_before)
    cells = cells_to_learn(past, past.cutoff_s, random)
    everywhen = moments(blocks.burn_in_s, blocks.end_s)
    everything, of_cells = collect(replay, engine, everywhen, cells, random, report_replay)
    network, _ = fitted(everything, everything.none(), constants, kept)
    if spread.any():
        factors = likeliest_factors(losses_of_factors(everything, of_cells, constants, network), spread)
        constants = replace(constants, cell_dispersion=factors)
    return Trained(
        past=past,
        constants=constants,
        network=network,
        history=replay.lead_to(past.cutoff_s),
        blocks=blocks,
        rows=rows,
        tallies=tallies,
        examples=examples,
    )


def tally_of(
    as_of_s: int,
    usual: npt.NDArray[np.float32],
    expected: npt.NDArray[np.float32],
    counts: npt.NDArray[np.int32],
    c: BaselineConstants,
    lively: npt.NDArray[np.intp],
) -> Tally:
    """Compare two forecasts of one moment. usual, expected, counts: (cells, categories, horizons).

    lively: the cells with any history.
    """
    observed, of_network = torch.from_numpy(counts).double(), c.dispersion_in_cells(of_network=True)
    means_of_both = [mean.astype(np.float64) for mean in (usual, expected)]
    logs = [torch.from_numpy(mean).log() for mean in means_of_both]
    deviance = [poisson_deviance(log_mean, observed).sum(dim=0).numpy() for log_mean in logs]
    log_score = [
        log_scores(mean, counts, dispersion).sum(axis=0)
        for mean, dispersion in zip(means_of_both, (c.dispersion_in_cells(of_network=False), of_network), strict=True)
    ]
    uniform = np.random.default_rng(as_of_s).random(counts.shape)
    caught, most = list[Floats](), max(1, round(TOP_SHARE * len(lively)))
    for h in range(counts.shape[2]):
        credit, _ = by_places(means_of_both[1][lively, :, h].T, counts[lively, :, h].T)
        caught.append(credit[:, :most].sum(axis=1))
    return Tally(
        as_of_s=as_of_s,
        deviance=(deviance[0], deviance[1]),
        log_score=(log_score[0], log_score[1]),
        forecast=(usual.sum(axis=0, dtype=np.float64), expected.sum(axis=0, dtype=np.float64)),
        actual=counts.sum(axis=0).astype(np.float64),
        caught=np.stack(caught, axis=1),
        intervals=tuple(
            intervals_of(means_of_both[1][..., h], counts[..., h], of_network[..., h], uniform[..., h])
            for h in range(counts.shape[2])
        ),
    )


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
        compared = difference_of(per_moment[None], block, np.random.default_rng(seed), judged=judged)
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
                verdict=compared.verdict,
            )
        )
    return results


def adds_nothing(rows: Sequence[HorizonResult]) -> bool:
    """Whether validation kept no state of the network, so that its forecasts are the baseline's."""
    return all(row.difference == row.difference_low == row.difference_high == 0 for row in rows)


def remarks(rows: Sequence[HorizonResult]) -> Iterator[str]:
    """What a verdict lacks, and that the network adds nothing: for those who read the table."""
    for verdict in dict.fromkeys(row.verdict for row in rows):
        if verdict in LACKS:
            yield f"{verdict}: {LACKS[verdict]}"
    if adds_nothing(rows):
        yield ADDS_NOTHING


def calibration(tallies: list[Tally], categories: tuple[str, ...], horizon: int) -> dict[str, float]:
    """Category -> the network's forecast over the observed number, for one horizon."""
    forecast = np.stack([moment.forecast[1][:, horizon] for moment in tallies]).sum(axis=0, dtype=np.float64)
    actual = np.stack([moment.actual[:, horizon] for moment in tallies]).sum(axis=0, dtype=np.float64)
    return {name: float(f / max(a, 1.0)) for name, f, a in zip(categories, forecast, actual, strict=True)}

"""Training: an incident file in, an artifact out. The same counting and the same features as in the stream."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from models.baseline import BaselineConstants, Floats
from models.counting.count_state import CountState
from models.dispersion import Dispersion
from models.features import FeatureEngine
from models.hyperparameters import DEFAULT, Hyperparameters
from models.network import RiskNetwork
from models.nowcast import Nowcast
from models.scoring import means
from models.training.fit_baseline import (
    Blocks,
    choose,
    choose_spread,
    common_spreads,
    constants_until,
    dispersion_of_network,
    factor_losses,
    likeliest_dispersion,
    likeliest_factors,
)
from models.training.fit_network import (
    CellDraw,
    Examples,
    Fit,
    FitData,
    FitPlan,
    FittedNetwork,
    KeptState,
    cells_to_learn,
    collect,
    fit_network,
    log_expected,
    random_moments,
)
from models.training.fit_nowcast import fit_nowcast
from models.training.replay import IncidentHistory, Replay
from models.training.training_table import HorizonResult, Tally, horizon_results, tally_of

ReportProgress = Callable[[str, float], None]  # (what, how far 0..1)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOptions:
    """How a network is trained."""

    step_s: int  # between two moments, on average; each lies at a random second
    epochs: int  # at most
    seed: int
    recipe: Hyperparameters = DEFAULT


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
    blocks = Blocks.of(past.first_s, past.cutoff_s)
    work = _Work(past=past, options=options, report=report, fit=fit, random=np.random.default_rng(options.seed))
    choices = choose(past, blocks, partial(report, "baseline"))
    judged = _first_fit(work, blocks, constants_until(past, blocks.validation_s, choices))
    constants, network, history = _second_fit(work, blocks, constants_until(past, past.cutoff_s, choices), judged)
    came = len(past.kept(blocks.test_s, blocks.end_s))
    return Trained(
        past=past,
        constants=constants,
        network=network,
        history=history,
        blocks=blocks,
        rows=horizon_results(judged.tallies, past.spec, judged=came, seed=options.seed),
        tallies=judged.tallies,
        examples=judged.examples,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged:
    """What the first fit chose, and its forecasts of time that it has not seen."""

    dispersion: Dispersion
    network_dispersion: Dispersion | None
    common_spreads: tuple[Floats, Floats]
    nowcast: Nowcast | None
    spread: Floats  # as `choose_spread` gives it
    kept: KeptState
    tallies: list[Tally]
    examples: int


def _first_fit(work: "_Work", blocks: Blocks, constants: BaselineConstants) -> _Judged:
    """constants: from the training block."""
    past = work.past
    work.report("baseline", 1)
    of_totals, of_sums = common = common_spreads(past, constants, blocks.burn_in_s, blocks.test_s)
    nowcast = fit_nowcast(past, constants, blocks.burn_in_s, blocks.test_s)
    constants = replace(constants, spread_of_totals=of_totals, spread_of_sums=of_sums, nowcast=nowcast)
    edges_s = (blocks.burn_in_s, blocks.validation_s, blocks.test_s, blocks.end_s)
    train_at, validate_at, test_at = (work.moments(*span_s) for span_s in pairwise(edges_s))
    replay, engine = Replay(past), FeatureEngine(past.spec, constants, past.counts_before)
    cells = cells_to_learn(past, blocks.validation_s, work.random)
    learned = work.examples(train_at, replay, engine, cells)
    chosen_by = work.examples(validate_at, replay, engine, np.arange(past.spec.grid.cells))
    examples = chosen_by.examples
    constants = replace(constants, dispersion=likeliest_dispersion(examples.log_usual, examples.counts))
    fitted = work.fitted(learned, chosen_by, constants)
    of_network = dispersion_of_network(log_expected(fitted.network, examples), examples.counts, constants.dispersion)
    constants = replace(constants, network_dispersion=of_network)
    before, after = (work.factor_losses(drawn, constants, fitted.network) for drawn in (learned, chosen_by))
    spread = choose_spread(before, after)
    if spread.any():
        constants = replace(constants, cell_dispersion=likeliest_factors(before + after, spread))
    tallies, lively = [], np.flatnonzero(past.counts(past.first_s, blocks.test_s).any(axis=1))
    for as_of_s in test_at:
        work.tell_replay(as_of_s)
        usual, expected = means(engine.compute(replay.lead_to(as_of_s)).values, fitted.network, past.spec)
        tallies.append(tally_of(as_of_s, usual, expected, past.coming(as_of_s), constants, lively))
    work.report("replay", 1)
    return _Judged(
        dispersion=constants.dispersion,
        network_dispersion=of_network,
        common_spreads=common,
        nowcast=nowcast,
        spread=spread,
        kept=fitted.kept,
        tallies=tallies,
        examples=len(learned.cells),
    )


def _second_fit(
    work: "_Work", blocks: Blocks, constants: BaselineConstants, judged: _Judged
) -> tuple[BaselineConstants, RiskNetwork, CountState]:
    """The fit on all of the time, with what the first one chose, and the counts at its end.

    constants: from all of the time.
    """
    past = work.past
    constants = replace(
        constants,
        dispersion=judged.dispersion,
        network_dispersion=judged.network_dispersion,
        spread_of_totals=judged.common_spreads[0],
        spread_of_sums=judged.common_spreads[1],
        nowcast=judged.nowcast,
    )
    replay, engine = Replay(past), FeatureEngine(past.spec, constants, past.counts_before)
    cells = cells_to_learn(past, past.cutoff_s, work.random)
    everything = work.examples(work.moments(blocks.burn_in_s, blocks.end_s), replay, engine, cells)
    fitted = work.fitted(everything, None, constants, kept=judged.kept)
    if judged.spread.any():
        factors = likeliest_factors(work.factor_losses(everything, constants, fitted.network), judged.spread)
        constants = replace(constants, cell_dispersion=factors)
    return constants, fitted.network, replay.lead_to(past.cutoff_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drawn:
    examples: Examples
    cells: npt.NDArray[np.intp]  # (n,) which cell each is of


@dataclass(frozen=True, slots=True, kw_only=True)
class _Work:
    """What both fits share."""

    past: IncidentHistory
    options: TrainingOptions
    report: ReportProgress
    fit: Fit
    random: np.random.Generator

    def moments(self, start_s: int, end_s: int) -> list[int]:
        """Random moments whose horizons end before `end_s`, and are about no hour that is cut out."""
        longest_s = max(self.past.spec.horizons_s)
        moments = random_moments(start_s, end_s - longest_s, self.options.step_s, self.random)
        return self.past.clear_of_cuts(moments, longest_s)

    def tell_replay(self, as_of_s: int) -> None:
        self.report("replay", (as_of_s - self.past.first_s) / (self.past.cutoff_s - self.past.first_s))

    def examples(
        self, moments: list[int], replay: Replay, engine: FeatureEngine, cells: npt.NDArray[np.intp]
    ) -> _Drawn:
        draw = CellDraw(cells=cells, random=self.random)
        examples, of_cells = collect(replay, engine, moments, draw, self.tell_replay)
        return _Drawn(examples=examples, cells=of_cells)

    def factor_losses(self, drawn: _Drawn, constants: BaselineConstants, network: RiskNetwork) -> Floats:
        """The losses of each cell's factor on the dispersion, around the baseline or a network with a dispersion.

        What a network knows must not look like a cell that spreads wider.
        """
        examples, cells, of_network = drawn.examples, self.past.spec.grid.cells, constants.network_dispersion
        log_mean = log_expected(network, examples) if of_network else examples.log_usual
        return factor_losses(log_mean, examples.counts, drawn.cells, of_network or constants.dispersion, cells)

    def fitted(
        self, learned: _Drawn, validation: _Drawn | None, constants: BaselineConstants, kept: KeptState | None = None
    ) -> FittedNetwork:
        """Reports the least validation loss so far, of a fit that has one."""
        options, least = self.options, 1.0  # that of the untrained network

        def after_epoch(epoch: int, loss: float) -> None:
            nonlocal least
            if kept is None:
                least = min(least, loss)
                self.report(f"network: validation {least:.4f} of the baseline's", epoch / options.epochs)
            else:
                self.report("on all data", min(epoch / max(kept.epoch, 1), 1))

        plan = FitPlan(recipe=options.recipe, epochs=options.epochs, seed=options.seed, kept=kept)
        chosen_by = validation.examples if validation else learned.examples.none()
        data = FitData(train=learned.examples, validation=chosen_by, dispersion=constants.dispersion)
        fitted = self.fit(data, plan, after_epoch)
        after_epoch(options.epochs, least)  # patience may end before the last epoch
        return fitted

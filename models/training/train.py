"""Training: an incident file in, an artifact out. The same counting and the same features as in the stream."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from models.baseline import BaselineConstants
from models.counting.count_state import CountState
from models.features import FeatureEngine, feature_names
from models.files.data_report import refuse_one_cell, refuse_too_little
from models.files.incident_files import IncidentTable
from models.hyperparameters import DEFAULT, Hyperparameters
from models.network import RiskNetwork, residual_of
from models.networks import kind_of_network
from models.training.examples import CellDraw, cells_to_learn, collect, random_moments
from models.training.fit_baseline import Blocks, fit_constants, with_dispersion
from models.training.fit_network import Fit, fit_network
from models.training.replay import IncidentHistory, Replay
from models.training.training_table import HorizonResult, Tally, horizon_results, tally
from schemas.errors import DataError
from schemas.grid import Grid
from schemas.spec import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What training gives."""

    past: IncidentHistory
    constants: BaselineConstants
    network: RiskNetwork
    history: CountState  # at the cut-off
    blocks: Blocks
    rows: list[HorizonResult]
    tallies: list[Tally]
    examples: int


def spec_for(table: IncidentTable, *, region: str, cell_m: float, cutoff_s: int) -> Spec:
    """The region's spec; its grid comes from the training block alone."""
    validation_s = _end_of_training(table, cutoff_s)
    known = np.searchsorted(table.occurred_s, validation_s)
    grid = Grid.around(table.lat_deg[:known], table.lon_deg[:known], cell_m=float(cell_m))
    refuse_one_cell(table, grid, validation_s)
    return Spec(
        region=region,
        timezone=table.timezone,
        grid=grid,
        categories=table.categories,
        features=feature_names(),
    )


def table_like(table: IncidentTable, spec: Spec, *, region: str, cutoff_s: int) -> IncidentTable:
    """The table for a training that keeps `spec`, so that its artifact can take over from the one that has it.

    Raises DataError when the table is not that region's, or says what the spec has no place for.
    """
    refuse_one_cell(table, spec.grid, _end_of_training(table, cutoff_s))
    faults = [
        f"{what} is {now}, that of the artifact {was}"
        for what, was, now in (("region", spec.region, region), ("time zone", spec.timezone, table.timezone))
        if was != now
    ]
    if unknown := sorted(set(table.categories) - set(spec.categories)):
        faults.append(f"the artifact has no category {', '.join(unknown)}")
    if spec.features != feature_names():
        faults.append("the artifact's network is given other features than this version computes")
    if faults:
        raise DataError(
            f"--like: {'; '.join(faults)}. Mend the file or the option, or train without --like and begin anew with "
            "`checkpoint reset`"
        )
    positions = np.array([spec.categories.index(name) for name in table.categories], np.int16)
    return replace(table, categories=spec.categories, category=positions[table.category])


def _end_of_training(table: IncidentTable, cutoff_s: int) -> int:
    """Where validation begins. Raises DataError when there is too little to learn from."""
    if table.occurred_s[0] >= cutoff_s:
        raise DataError("no incident of the file lies before the cut-off: give a later --until")
    refuse_too_little(table.occurred_s[table.occurred_s < cutoff_s])
    return Blocks.of(int(table.occurred_s[0]), cutoff_s).validation_s


def train(
    table_: IncidentTable,
    spec: Spec,
    *,
    cutoff_s: int,
    step_s: int,
    epochs: int,
    seed: int,
    tell: Callable[[str, float], None],
    recipe: Hyperparameters = DEFAULT,
    fit: Fit = fit_network,
) -> Trained:
    """Fit on the first 70 % of the time, choose on the next 15 %, judge on the rest, count up to the cut-off.

    Moments stand `step_s` apart on average, at random seconds. `tell(what, share)` reports progress, 0..1.
    """
    past = IncidentHistory.of(table_, spec, cutoff_s)
    blocks = Blocks.of(past.first_s, cutoff_s)
    tell("baseline", 0)
    constants = fit_constants(past, blocks)
    tell("baseline", 1)
    random = np.random.default_rng(seed)
    replay, engine = Replay(past), FeatureEngine(spec, constants)
    told = _Told(blocks, tell)
    train_at = random_moments(blocks.burn_in_s, blocks.validation_s - max(spec.horizons_s), step_s, random)
    validate_at = random_moments(blocks.validation_s, blocks.test_s - max(spec.horizons_s), step_s, random)
    test_at = random_moments(blocks.test_s, blocks.end_s - max(spec.horizons_s), step_s, random)

    kind = kind_of_network(recipe.network)
    known = CellDraw(cells=cells_to_learn(past, blocks, random), random=random)
    every = CellDraw(cells=np.arange(spec.grid.cells), random=random)
    (learned,) = collect(replay, engine, train_at, known, told, [kind])
    (chosen_by,) = collect(replay, engine, validate_at, every, told, [kind])
    constants = with_dispersion(constants, chosen_by.log_usual, chosen_by.counts)
    told_network = _ToldNetwork(epochs, tell)
    network = fit(
        learned,
        chosen_by,
        torch.from_numpy(constants.dispersion).float(),
        recipe=recipe,
        epochs=epochs,
        seed=seed,
        after_epoch=told_network,
    )
    told_network.ended()
    tallies = []
    for as_of_s in test_at:
        values = engine.compute(replay.lead_to(as_of_s)).values
        log_usual = values[:, :, -len(spec.horizons_s) :]
        expected = np.exp(log_usual + residual_of(network.inputs(values, spec.grid), network))
        tallies.append(tally(as_of_s, np.exp(log_usual), expected, past.coming(as_of_s), constants))
        told(as_of_s)
    tell("replay", 1)
    return Trained(
        past=past,
        constants=constants,
        network=network,
        history=replay.lead_to(cutoff_s),
        blocks=blocks,
        rows=horizon_results(
            tallies,
            cells=spec.grid.cells,
            horizon_names=spec.horizon_names,
            judged=int(past.counts(blocks.test_s, blocks.end_s).sum()),
            seed=seed,
        ),
        tallies=tallies,
        examples=len(learned.values),
    )


class _Told:
    """Reports how far the replay has come."""

    def __init__(self, blocks: Blocks, tell: Callable[[str, float], None]) -> None:
        self.blocks, self.tell = blocks, tell

    def __call__(self, as_of_s: int) -> None:
        start, end = self.blocks.burn_in_s, self.blocks.end_s
        self.tell("replay", (as_of_s - start) / (end - start))


class _ToldNetwork:
    """Reports the least validation loss so far; the untrained network's is 1."""

    def __init__(self, epochs: int, tell: Callable[[str, float], None]) -> None:
        self.epochs, self.tell, self.least = epochs, tell, 1.0

    def __call__(self, epoch: int, loss: float) -> None:
        self.least = min(self.least, loss)
        self._say(epoch / self.epochs)

    def ended(self) -> None:
        """Patience may have run out before the last epoch."""
        self._say(1)

    def _say(self, share: float) -> None:
        self.tell(f"network: validation {self.least:.4f} of the baseline's", share)

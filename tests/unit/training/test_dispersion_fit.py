"""How far counts spread: around a network that knows more, and in cells beside the region."""

import numpy as np
import pytest
import torch
from scipy.stats import nbinom

from models.artifact import read_artifact
from models.dispersion import LEAST_GAIN, LEAST_NATS, LINEAR, QUADRATIC, Dispersion
from models.training.card import card_text
from models.training.fit_baseline import (
    DISPERSIONS,
    FACTORS,
    choose_spread,
    dispersion_of_network,
    factor_losses,
    likeliest_dispersion,
    likeliest_factors,
)
from models.training.replay import IncidentHistory
from models.training.train import TrainingOptions, train
from models.training.train_region import spec_for
from tests.harness.toy import publish_artifact, toy_table

pytestmark = pytest.mark.usefixtures("quick_training")
CELLS, STEPS, R = 40, 1500, 1.5
DAY_S, START_S = 86_400, 1_451_606_400
POWERS = [pytest.param(QUADRATIC, id="quadratic"), pytest.param(LINEAR, id="linear")]


def region(factor, power, seed=0, steps=STEPS):
    """(log_mean, counts, cell, dispersion) of steps x CELLS counts whose cells have these factors on r."""
    random = np.random.default_rng(seed)
    mean = random.gamma(1.0, 0.2, (steps, CELLS)) + 1e-3
    size = R * factor * mean**power
    counts = random.negative_binomial(size, size / (size + mean))
    log_mean, observed = (torch.tensor(array.reshape(-1, 1, 1)) for array in (np.log(mean), counts))
    dispersion = Dispersion(r=np.array([[R]]), power=np.array([[power]]))
    return log_mean, observed, np.tile(np.arange(CELLS), steps), dispersion


def losses_of(factor, power, **changes):
    return factor_losses(*region(factor, power, **changes), CELLS)


@pytest.mark.parametrize("power", POWERS)
def test_losses_are_scipys_summed_by_cell(power):
    log_mean, counts, cell, dispersion = region(np.ones(CELLS), power, steps=20)
    losses = factor_losses(log_mean, counts, cell, dispersion, CELLS)
    mean = np.exp(log_mean[:, 0, 0].numpy())
    for number, factor in enumerate(FACTORS):
        size = R * factor * mean**power
        each = -nbinom.logpmf(counts[:, 0, 0].numpy(), size, size / (size + mean))
        expected = [each[cell == number_of_cell].sum() for number_of_cell in range(CELLS)]
        np.testing.assert_allclose(losses[number, :, 0, 0], expected, rtol=1e-9)


@pytest.mark.parametrize("power", POWERS)
def test_the_factors_of_cells_that_differ_are_found_and_chosen(power):
    factor = np.where(np.arange(CELLS) % 4 == 0, np.exp(-1.0), 1.0)
    learned, later = (losses_of(factor, power, seed=seed) for seed in (1, 2))
    spread = choose_spread(learned, later)
    assert spread.item() > 0
    factors = likeliest_factors(learned, spread)[:, 0, 0]
    assert factors.shape == (CELLS,)
    assert factors[factor < 1].mean() < 0.55
    assert factors[factor == 1].mean() == pytest.approx(1, abs=0.12)


@pytest.mark.parametrize("power", POWERS)
def test_no_factor_is_chosen_where_cells_are_alike(power):
    learned, later = (losses_of(np.ones(CELLS), power, seed=seed) for seed in (3, 4))
    assert choose_spread(learned, later) == 0


def test_a_cell_of_which_little_is_known_has_the_regions_dispersion():
    factor = np.full(CELLS, np.exp(-1.0))
    assert (likeliest_factors(losses_of(factor, LINEAR, steps=4), np.full((1, 1), 0.3)) == 1).mean() > 0.9


@pytest.mark.parametrize("power", POWERS)
def test_counts_spread_less_around_a_network_that_knows_what_moves_them(power):
    """Two categories: the first follows something that only the network knows, the second the baseline."""
    random = np.random.default_rng(6)
    told = np.exp(0.8 * random.standard_normal((20_000, 1)) * [1, 0])
    usual = random.gamma(1.0, 0.5, (20_000, 2)) + 0.05
    mean = usual * told
    size = 2 * mean**power
    counts = random.negative_binomial(size, size / (size + mean))
    log_usual, log_mean, observed = (torch.tensor(array[:, :, None]) for array in (np.log(usual), np.log(mean), counts))
    of_baseline = likeliest_dispersion(log_usual, observed)
    of_network = dispersion_of_network(log_mean, observed, of_baseline)
    sizes = DISPERSIONS[:, None] * mean[:, 0] ** power
    losses = -nbinom.logpmf(counts[:, 0], sizes, sizes / (sizes + mean[:, 0])).sum(axis=1)
    assert of_baseline.r[0] < 1.5 < of_network.r[0]
    assert (of_network.r[0], of_network.power[0]) == (DISPERSIONS[losses.argmin()], power)
    assert (of_network.r[1], of_network.power[1]) == (of_baseline.r[1], of_baseline.power[1])


@pytest.mark.parametrize("power", POWERS)
def test_a_network_that_knows_no_more_has_the_baselines_dispersion(power):
    log_mean, observed, _, _ = region(np.ones(CELLS), power)
    slightly = log_mean + 0.02 * torch.randn(log_mean.shape, generator=torch.Generator().manual_seed(0))
    assert dispersion_of_network(slightly, observed, likeliest_dispersion(log_mean, observed)) is None


@pytest.mark.parametrize("steps", [STEPS, 20])
def test_a_dispersion_of_its_own_must_gain_enough_and_surely(steps):
    """Of many counts the share of the loss decides, of few the nats."""
    log_mean, observed, _, _ = region(np.ones(CELLS), QUADRATIC, steps=steps)
    mean, counts = np.exp(log_mean[:, 0, 0].numpy()), observed[:, 0, 0].numpy()

    def loss_of(r, power):
        size = r * mean**power
        return float(-nbinom.logpmf(counts, size, size / (size + mean)).sum())

    own, decided = likeliest_dispersion(log_mean, observed), set()
    least = loss_of(own.r.item(), own.power.item())
    for r in DISPERSIONS[::6]:
        loss, of_baseline = loss_of(r, QUADRATIC), Dispersion.quadratic(np.array([[r]]))
        is_own = loss - least > max(LEAST_GAIN * loss, LEAST_NATS)
        assert (dispersion_of_network(log_mean, observed, of_baseline) is not None) is is_own
        decided.add((is_own, loss - least > LEAST_GAIN * loss))
    assert (False, steps == 20) in decided
    assert (True, True) in decided


def reports(times_reported, days=200):
    """Calls about incidents in 5 x 5 cells of 1 km, those of a cell reported `times_reported` times on average."""
    random = np.random.default_rng(5)
    at_s = START_S + np.sort(random.integers(0, days * DAY_S, 40 * days))
    cell = random.integers(0, 25, len(at_s))
    again = random.geometric(1 / times_reported[cell])
    at_s, cell = (np.repeat(array, again) for array in (at_s, cell))
    return toy_table(at_s, lat_deg=41.002 + 0.009 * (cell // 5), lon_deg=-86.995 + 0.0119 * (cell % 5))


def trained(table):
    torch.set_num_threads(1)
    cutoff_s = START_S + 200 * DAY_S
    spec = spec_for(table, region="made", cell_m=1000, cutoff_s=cutoff_s)
    options = TrainingOptions(step_s=DAY_S // 2, epochs=1, seed=0)
    return train(IncidentHistory.of(table, spec, cutoff_s), options, report=lambda what, share: None)


def test_training_finds_the_cells_whose_incidents_are_reported_again_and_again(tmp_path):
    times = np.where(np.arange(25) < 5, 6.0, 1.02)
    made = trained(reports(times))
    constants, grid = made.constants, made.past.spec.grid
    assert constants.cell_dispersion.shape == (grid.cells, len(made.past.spec.categories), 3)
    calls = made.past.counts(made.past.first_s, made.past.cutoff_s)[:, 0]
    often = calls > 3 * np.median(calls[calls > 0])
    assert often.sum() == 5
    assert constants.cell_dispersion[often, 0, 0].max() < constants.cell_dispersion[(calls > 0) & ~often, 0, 0].min()
    card = card_text(made, layout="made", file_rows=[])
    assert "Counts spread wider than the region's in" in card
    folder = publish_artifact(
        tmp_path, spec=made.past.spec, constants=constants, network=made.network, history=made.history, card=card
    )
    again = read_artifact(folder).constants
    np.testing.assert_array_equal(again.cell_dispersion, constants.cell_dispersion)
    in_cells = again.dispersion_in_cells(of_network=False)
    np.testing.assert_array_equal(in_cells.r, constants.cell_dispersion * constants.dispersion.r)
    assert (in_cells.power == constants.dispersion.power).all()
    assert again.dispersion == constants.dispersion


def test_training_leaves_cells_alone_that_are_reported_alike():
    made = trained(reports(np.full(25, 1.02)))
    assert made.constants.cell_dispersion.size == 0
    assert made.constants.dispersion_in_cells(of_network=True) is made.constants.dispersion
    assert "Counts spread wider" not in card_text(made, layout="made", file_rows=[])

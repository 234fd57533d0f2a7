"""The fit of a network: how it starts, which of its states is kept, and that a GPU gives the same."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import nbinom, poisson

from models.hyperparameters import Hyperparameters
from models.likelihood import negative_binomial_nll
from models.network import ResidualNetwork, residual_of
from models.training import fit_network as module
from models.training.fit_network import (
    Examples,
    FitData,
    FitPlan,
    KeptState,
    fit_network,
    log_expected,
    warm_started,
)
from tests.harness.made_examples import DISPERSION, made_examples
from tests.harness.toy import toy_network, toy_spec
from tests.unit.training.test_training import same_weights

R = float(DISPERSION.r[0, 0])
ROWS, INCIDENTS = 300_000, 5_000  # of a warm start


def data_of(make=made_examples, *, train=1000, validation=500, seed=1):
    """Examples made by two seeds."""
    torch.set_num_threads(1)
    return FitData(train=make(train, seed=seed), validation=make(validation, seed=seed + 1), dispersion=DISPERSION)


def fit(data, told=lambda epoch, ratio: None, **plan):
    return fit_network(data, FitPlan(**{"epochs": 5, "seed": 0} | plan), told)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_kept_state_is_reached_again_without_validation(seed):
    data = data_of()
    chosen = fit(data, seed=seed)
    assert chosen.kept != KeptState()
    alone = FitData(train=data.train, validation=data.validation.none(), dispersion=DISPERSION)
    again = fit(alone, seed=seed, kept=chosen.kept)
    assert same_weights(again.network, chosen.network)
    assert again.kept == chosen.kept


def test_another_state_is_another_network():
    data = data_of()
    state = fit(data).kept
    states = (state, KeptState(state.warm_start, state.epoch - 1), KeptState(0, state.epoch))
    first, *others = (fit(data, kept=state).network for state in states)
    assert not any(same_weights(first, other) for other in others)


def test_a_fit_that_kept_nothing_is_the_baseline():
    data = data_of(validation=50)
    assert torch.all(fit(data, kept=KeptState()).network(data.validation.values[None]) == 0)


def pure_chance(cells, *, seed):
    """Counts that follow the baseline and nothing else."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(cells, 2, 6)).astype(np.float32)
    mean = np.exp(values[:, :, 3:].astype(np.float64))
    counts = random.negative_binomial(R, R / (R + mean)).astype(np.float32)
    return Examples(values=torch.from_numpy(values), counts=torch.from_numpy(counts))


def nats(examples, log_mean):
    mean = np.exp(log_mean.numpy().astype(np.float64))
    return nbinom.logpmf(examples.counts.numpy(), R, R / (R + mean)).sum(axis=(0, 1)).mean()


@pytest.mark.parametrize("seed", range(4))
def test_what_chance_gains_is_not_kept(seed):
    data = data_of(pure_chance, train=800, validation=200, seed=2 * seed)
    network, state = fit(data, epochs=3, seed=seed)
    assert state == KeptState()
    assert not residual_of(data.validation.values.numpy(), network).any()
    assert torch.equal(log_expected(network, data.validation), data.validation.log_usual)


def test_the_gain_that_is_asked_for_is_in_nats_of_the_validation_block(monkeypatch):
    data = data_of(train=240, validation=60, seed=0)
    network, state = fit(data, epochs=3)
    usual = nats(data.validation, data.validation.log_usual)
    gained = nats(data.validation, log_expected(network, data.validation)) - usual
    assert state.epoch > 0
    assert gained > module.LEAST_NATS
    for share, is_kept in ((0.9, True), (1.1, False)):
        monkeypatch.setattr(module, "LEAST_NATS", share * gained)
        assert (fit(data, epochs=3).kept != KeptState()) is is_kept


def only_within_the_first_horizon(cells, *, seed):
    """`made_examples`, where what came over the longer horizons is the baseline's and chance's alone."""
    made, random = made_examples(cells, seed=seed), np.random.default_rng(seed)
    counts = made.counts.clone()
    counts[:, :, 1:] = torch.from_numpy(random.poisson(torch.exp(made.log_usual[:, :, 1:])).astype(np.float32))
    return Examples(values=made.values, counts=counts)


@pytest.mark.parametrize("seed", [0, 1])
def test_a_horizon_serves_the_share_of_the_network_that_suits_validation(seed):
    data = data_of(only_within_the_first_horizon, seed=seed)
    network, state = fit(data, seed=seed)
    np.testing.assert_allclose(network.share, state.share)
    network.share.fill_(1)
    usual, counts = (of.numpy().astype(float) for of in (data.validation.log_usual, data.validation.counts))
    correction = log_expected(network, data.validation).numpy().astype(float) - usual
    grid = np.linspace(0, 1, 101)
    for horizon, share in enumerate(state.share):
        means = np.exp(usual[..., horizon] + np.multiply.outer(grid, correction[..., horizon]))
        likeliest = grid[poisson.logpmf(counts[..., horizon], means).sum(axis=(1, 2)).argmax()]
        assert abs(share - likeliest) <= 0.02
    assert state.share[0] > 0.8
    assert min(state.share) < 0.8


@given(st.integers(1, 400_000), st.integers(1, 4), st.floats(0, 1))
def test_there_are_as_many_rows_as_hold_enough_incidents(n, categories, rate):
    counts = torch.zeros(n, categories, 2)
    counts[: int(rate * n), 0, 0] = 1  # of the first horizon alone; the longer one has what the shorter has
    counts[:, :, 1] = 7
    chosen, mean = warm_started(counts), int(rate * n) / n
    if chosen < n:
        assert chosen >= ROWS // categories
        assert chosen * mean >= INCIDENTS * (1 - 1e-6)
    if chosen > ROWS // categories:  # no more than needed
        assert (chosen - 1) * mean < INCIDENTS * (1 + 1e-6)


@pytest.mark.parametrize(("least", "expected"), [(1, 100), (2_000, None)])
def test_the_network_starts_from_that_many_examples(least, expected, monkeypatch):
    monkeypatch.setattr(module, "WARM_STARTED", 200)
    monkeypatch.setattr(module, "LEAST_INCIDENTS", least)
    data, lengths, whole = data_of(train=3_000, validation=300), [], ResidualNetwork.warm_starts

    def noted(network, inputs, *others):
        lengths.append(len(inputs))
        return whole(network, inputs, *others)

    monkeypatch.setattr(ResidualNetwork, "warm_starts", noted)
    fit(data, epochs=1)
    per_example = data.train.counts[:, :, 0].sum(dim=1).numpy().mean()
    assert lengths == [expected or int(np.ceil(least / per_example))]


def test_the_linear_part_starts_where_the_penalised_likelihood_is_highest(monkeypatch):
    """There the slope is nothing. The size of each horizon's loss is its unit."""
    spec = toy_spec()
    monkeypatch.setattr("models.network.PENALTIES", (1.0, 0.1))
    draw, made = torch.Generator().manual_seed(0), toy_network(spec)
    inputs = torch.randn(100, 2, len(spec.features), generator=draw)
    counts = torch.poisson(inputs[:, :, -3:].exp(), generator=draw)
    size, unit = torch.full_like(counts, 3.0), torch.tensor([1.0, 2.0, 4.0])
    made.scale_like(inputs.flatten(0, 1))
    for _, penalty in zip(made.warm_starts(inputs, counts, size, unit), (1.0, 0.1), strict=True):
        made.zero_grad()
        losses = negative_binomial_nll(inputs[:, :, -3:] + made(inputs), counts, size).mean(dim=(0, 1)) / unit
        (losses.sum() + penalty * made.linear.weight.square().sum()).backward()
        for slope in (made.linear.weight.grad, made.offset.weight.grad):
            assert slope.abs().max() < 2e-3
    assert not made.linear.weight.requires_grad
    assert not made.offset.weight.requires_grad


def test_a_gpu_gives_the_network_of_the_cpu():
    """Tolerance: 1e-3 of the loss, 0.01 of a log forecast."""
    if not torch.cuda.is_available():
        pytest.skip("torch finds no GPU here")
    data = data_of(train=5000, validation=1000)
    plan = FitPlan(recipe=Hyperparameters(minibatch=256), epochs=4, seed=3)
    ratios, networks = {"cpu": [], "cuda": []}, {}
    for device, losses in ratios.items():
        after_epoch = lambda epoch, ratio, losses=losses: losses.append(ratio)  # noqa: E731
        networks[device] = fit_network(data, plan, after_epoch, device=device).network
    assert all(tensor.device.type == "cpu" for tensor in networks["cuda"].state_dict().values())
    assert min(ratios["cpu"]) < 0.97
    assert ratios["cuda"] == pytest.approx(ratios["cpu"], rel=1e-3)
    values = data.validation.values[None]
    torch.testing.assert_close(networks["cuda"](values), networks["cpu"](values), rtol=0, atol=1e-2)

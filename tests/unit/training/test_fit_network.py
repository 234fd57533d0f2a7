"""The fit of a network: how it starts, which state and share is kept, several processes, and a GPU."""

import multiprocessing
import os

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import nbinom, poisson

from models.dispersion import negative_binomial_nll
from models.network import ResidualNetwork, residual_of
from models.network_kinds import Hyperparameters
from models.training import fit_network as module
from models.training.fit_baseline import choose, constants_until, fit_constants
from models.training.fit_network import (
    MORE_OFF,
    Examples,
    FitData,
    FitPlan,
    FitState,
    fit_network,
    fit_share,
    log_expected,
    pool_share,
    read_fitted,
    warm_started,
    write_fit,
)
from streaming.rehearse.broker import free_port
from tests.harness.made_examples import DISPERSION, made_examples, one_penalty
from tests.harness.toy import toy_network, toy_spec
from tests.unit.training.test_training import DAY, DAYS, region, same_weights, trained

R = float(DISPERSION.r[0, 0])
ROWS, INCIDENTS = 300_000, 5_000  # of a warm start


def data_of(make=made_examples, *, train=1000, validation=500, seed=1):
    """Examples made by two seeds."""
    torch.set_num_threads(1)
    return FitData(train=make(train, seed=seed), validation=make(validation, seed=seed + 1), dispersion=DISPERSION)


def fit(data, told=lambda epoch, ratio: None, **plan):
    return fit_network(data, FitPlan(**{"epochs": 5, "seed": 0} | plan), told)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_kept_state_is_reached_again_without_validation_and_another_is_another_network(seed):
    data = data_of()
    chosen = fit(data, seed=seed)
    assert chosen.kept != FitState()
    alone = FitData(train=data.train, validation=data.validation.none(), dispersion=DISPERSION)
    again = fit(alone, seed=seed, kept=chosen.kept)
    assert same_weights(again.network, chosen.network)
    assert again.kept == chosen.kept
    for change in ({"epoch": chosen.kept.epoch - 1}, {"warm_start": 0}):
        other = msgspec.structs.replace(chosen.kept, **change)
        assert not same_weights(fit(alone, seed=seed, kept=other).network, chosen.network)
    baseline = fit(alone, seed=seed, kept=FitState()).network
    assert torch.all(baseline(data.validation.values[None]) == 0)


def pure_chance(cells, *, seed):
    """Counts that follow the baseline and nothing else."""
    random = np.random.default_rng(seed)
    values = random.normal(size=(cells, 2, 6)).astype(np.float32)
    mean = np.exp(values[:, :, 3:].astype(np.float64))
    counts = random.negative_binomial(R, R / (R + mean)).astype(np.float32)
    return Examples(values=torch.from_numpy(values), counts=torch.from_numpy(counts))


def nats(examples, log_mean):
    """(horizons,) log likelihood."""
    mean = np.exp(log_mean.numpy().astype(np.float64))
    return nbinom.logpmf(examples.counts.numpy(), R, R / (R + mean)).sum(axis=(0, 1))


@pytest.mark.parametrize("seed", range(4))
def test_what_chance_gains_is_not_kept(seed):
    data = data_of(pure_chance, train=800, validation=200, seed=2 * seed)
    network, state = fit(data, epochs=3, seed=seed)
    assert state == FitState()
    assert not residual_of(data.validation.values.numpy(), network).any()
    assert torch.equal(log_expected(network, data.validation), data.validation.log_usual)


def test_the_gain_that_is_asked_for_is_in_nats_of_one_horizon_of_the_validation_block(monkeypatch):
    data = data_of(train=240, validation=60, seed=0)
    network, state = fit(data, epochs=3)
    usual = nats(data.validation, data.validation.log_usual)
    gained = (nats(data.validation, log_expected(network, data.validation)) - usual).max()
    assert state.epoch > 0
    of_any = np.log(len(usual))  # more, as each horizon has a chance
    assert gained > module.LEAST_NATS + of_any
    for share, is_kept in ((0.9, True), (1.1, False)):
        for repeats in ((), (2.0,) * len(usual)):  # where an incident counts twice, twice as many are asked for
            monkeypatch.setattr(module, "LEAST_NATS", share * gained / (2 if repeats else 1) - of_any)
            assert (fit(data, epochs=3, repeats=repeats).kept != FitState()) is is_kept


def only_within_the_first_horizon(cells, *, seed):
    """`made_examples`, where what came over the longer horizons is the baseline's and chance's alone."""
    made, random = made_examples(cells, seed=seed), np.random.default_rng(seed)
    counts = made.counts.clone()
    counts[:, :, 1:] = torch.from_numpy(random.poisson(torch.exp(made.log_usual[:, :, 1:])).astype(np.float32))
    return Examples(values=made.values, counts=counts)


@pytest.mark.parametrize("seed", [0, 1])
def test_what_gains_within_the_hour_is_kept_where_more_is_lost_over_the_day(seed):
    """The longer horizons of the training time had what the validation's have not."""
    validation = only_within_the_first_horizon(500, seed=seed + 1)
    data = FitData(train=data_of(seed=seed).train, validation=validation, dispersion=DISPERSION)
    network, state = fit(data, seed=seed)
    network.share.fill_(1)
    gained = nats(validation, log_expected(network, validation)) - nats(validation, validation.log_usual)
    assert gained[0] > module.LEAST_NATS
    assert gained.sum() < 0
    assert state.share[0] > 0.5 > max(state.share[1:])


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


def farthest(usual, correction, counts):
    """How far the total may lie off."""
    return off(usual, correction, counts, 0) + MORE_OFF + 2 / np.sqrt(max(counts.sum(), 1))


def off(usual, correction, counts, share):
    """How far the log of the total's forecast over what came lies from 0."""
    return abs(np.log((usual * np.exp(share * correction)).sum() / max(counts.sum(), 1)))


@given(st.integers(0, 2**32 - 1), st.floats(0, 2), st.floats(-0.5, 0.5))
def test_the_likeliest_share_by_scipy_unless_the_total_is_farther_off(seed, strength, level):
    random = np.random.default_rng(seed)
    usual = random.gamma(1.0, size=(200, 2)) + 0.01
    correction = random.normal(size=usual.shape) + level
    counts = random.poisson(usual * np.exp(strength * (correction - level)))
    tensors = (torch.from_numpy(of) for of in (np.log(usual), correction, counts.astype(float)))
    share = pool_share(*tensors)
    loss = lambda at: -poisson.logpmf(counts, usual * np.exp(at * correction)).sum()  # noqa: E731
    likeliest = minimize_scalar(loss, bounds=(0, 1), method="bounded").x
    bound = farthest(usual, correction, counts)
    assert share <= likeliest + 0.011
    assert off(usual, correction, counts, share) <= bound + 1e-9
    if share < likeliest - 0.011:  # then the next percent would be too far off
        assert off(usual, correction, counts, share + 0.01) > bound


def test_a_network_that_knows_the_places_but_undoes_the_level_serves_only_a_part():
    usual = 1000 * np.array([[0.001]] * 10 + [[20.0]])
    counts = 1000 * np.array([[0.4]] * 10 + [[20.0]])
    forecast = 1000 * np.array([[0.4]] * 10 + [[28.0]])  # right where it is quiet, too high where it is busy
    correction = np.log(forecast / usual)
    share = pool_share(*(torch.from_numpy(of) for of in (np.log(usual), correction, counts)))
    bound = farthest(usual, correction, counts)
    assert off(usual, correction, counts, share) <= bound < off(usual, correction, counts, share + 0.01)
    assert 0.9 < share < 0.96  # by likelihood alone it would be 0.98


def test_where_nothing_came_the_smaller_forecast_is_served():
    usual, half, none = (torch.full((4, 1), value, dtype=torch.float64) for value in (np.log(0.2), np.log(0.5), 0))
    assert pool_share(usual, half, none) == 1
    assert pool_share(usual, -half, none) == 0


RANKS = 3


def take_part(rank, port, folder):
    """One of the ranks, with what torchrun tells it."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(RANKS), "RANK": str(rank)}
    fit_share(folder)


def test_processes_without_spark_give_the_network_of_one_process(tmp_path):
    """Three ranks, and a last minibatch of one example. Tolerance: 1e-4 of the loss, 0.001 of a log forecast."""
    plan = FitPlan(recipe=Hyperparameters(minibatch=64, learning_rate=5e-3), epochs=4, seed=2)
    data = FitData(
        train=made_examples(64 * 20 + 1, seed=1), validation=made_examples(500, seed=2), dispersion=DISPERSION
    )
    write_fit(tmp_path, plan, data)
    context, port = multiprocessing.get_context("forkserver"), free_port()
    context.set_forkserver_preload([__name__, "torch._dynamo"])  # one import of torch, and of what optimisers need
    ranks = [context.Process(target=take_part, args=(rank, port, tmp_path)) for rank in range(RANKS)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()
    assert [process.exitcode for process in ranks] == [0] * RANKS
    (spread, state), ratios = read_fitted(tmp_path, plan.recipe.network, data.train.shape)
    alone_ratios = []
    torch.set_num_threads(1)
    alone, state_alone = fit_network(data, plan, lambda epoch, ratio: alone_ratios.append(ratio))
    assert min(alone_ratios) < 0.97
    assert state == state_alone
    assert ratios == pytest.approx(alone_ratios, rel=1e-4)
    values = data.validation.values[None]
    torch.testing.assert_close(spread(values), alone(values), rtol=0, atol=1e-3)


@pytest.fixture(scope="module")
def doubled():
    """Training where the last tenth of the time has twice as many incidents, and its networks: judged, and serving."""
    level, networks = np.ones(DAYS), []
    level[-DAYS // 10 :] = 2

    def fit(*arguments):
        networks.append(fit_network(*arguments))
        return networks[-1]

    with one_penalty():
        return trained(region(level), fit=fit), [fitted.network for fitted in networks]


def test_constants_come_from_all_of_the_time_and_choices_from_the_usual_blocks(doubled):
    made, _ = doubled
    past, blocks, constants = made.past, made.blocks, made.constants
    choices = choose(past, blocks)
    assert float(constants.half_life_days) == choices.half_life_days
    assert tuple(constants.shrink_days) == choices.shrink_days
    expected = constants_until(past, past.cutoff_s, choices)
    np.testing.assert_array_equal(constants.profile, expected.profile)
    np.testing.assert_array_equal(constants.day_lift, expected.day_lift)
    per_day = past.counts(past.first_s, past.cutoff_s).sum(axis=0) / ((past.cutoff_s - past.first_s) / DAY)
    np.testing.assert_allclose(constants.mean_per_day, per_day)
    assert (constants.mean_per_day > 1.05 * fit_constants(past, blocks).mean_per_day).all()


def test_the_serving_network_has_seen_the_newest_time(doubled):
    made, (judged, serving) = doubled
    assert same_weights(made.network, serving)
    level = made.past.spec.features.index("level_7d")
    assert float(serving.mean[level] - judged.mean[level]) > 0.04  # without the busy weeks it is 0.001

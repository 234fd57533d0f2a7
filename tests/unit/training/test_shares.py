"""A fit in shares: they tile each minibatch, and what is summed over the ranks is the gradient of the whole."""

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.hyperparameters import Hyperparameters
from models.network import NetworkShape
from models.networks.residual import LINEAR_PART, ResidualNetwork
from models.training.fit_files import read_fitted, write_fit
from models.training.fit_network import FitData, FitPlan, Share, fit_network
from tests.harness.made_examples import DISPERSION, made_examples
from tests.harness.processes import run_python

ROOT = Path(__file__).parents[3]


@given(positions=st.integers(1, 40), ranks=st.integers(1, 9))
def test_shares_tile_a_minibatch_as_equally_as_they_can(positions, ranks):
    minibatch = torch.arange(100, 100 + positions)
    shares = [Share(rank=rank, ranks=ranks, add_up=list).of(minibatch) for rank in range(ranks)]
    assert sorted(torch.cat([mine[:counted] for mine, counted in shares]).tolist()) == minibatch.tolist()
    counts = [counted for _, counted in shares]
    assert max(counts) - min(counts) <= 1
    assert min(len(mine) for mine, _ in shares) >= 1


def log_score(log_mean, counts):
    """- log P(counts) of the negative binomial of size DISPERSION, written down anew."""
    size = torch.from_numpy(DISPERSION.r)
    at_mean = (counts + size) * (log_mean.exp() + size).log() - counts * log_mean - size * size.log()
    return at_mean + torch.lgamma(counts + 1) + torch.lgamma(size) - torch.lgamma(counts + size)


@pytest.mark.parametrize(("cells", "ranks"), [(7, 3), (2, 3), (12, 4)])
def test_the_first_sum_over_the_ranks_is_the_gradient_of_the_whole_minibatch(cells, ranks, monkeypatch):
    monkeypatch.setattr("models.networks.residual.PENALTIES", ())  # no linear part: the perceptron begins at nothing
    train, validation = made_examples(cells, seed=1), made_examples(20, seed=2)
    data = FitData(train=train, validation=validation, dispersion=DISPERSION)
    summed, validated = 0, 0
    for rank in range(ranks):
        sent = []
        share = Share(rank=rank, ranks=ranks, add_up=lambda tensor, sent=sent: sent.append(tensor.clone()))
        fit_network(data, FitPlan(epochs=1, seed=5), lambda epoch, ratio: None, share=share)
        validated, summed = validated + sent[0], summed + sent[1]
    torch.manual_seed(5)
    network = ResidualNetwork(NetworkShape(inputs=6, categories=2, horizons=3))
    network.scale_like(train.values.reshape(-1, 6))
    network, values, counts = network.double(), train.values.double(), train.counts.double()
    usual = values[:, :, 3:]
    unit = log_score(usual, counts).mean(dim=(0, 1))
    (log_score(usual + network(values[None])[0], counts).mean(dim=(0, 1)) / unit).mean().backward()
    fitted = (parameter for name, parameter in network.named_parameters() if name not in LINEAR_PART)
    whole = torch.cat([parameter.grad.flatten() for parameter in fitted])
    assert whole.abs().max() > 0.01
    torch.testing.assert_close(summed.double(), whole, rtol=1e-4, atol=1e-6)
    untrained = log_score(validation.values[:, :, 3:].double(), validation.counts.double()).mean(dim=1).sum(dim=0)
    torch.testing.assert_close(validated.double(), untrained, rtol=1e-5, atol=0)


def test_processes_without_spark_give_the_network_of_one_process(tmp_path):
    """Three ranks, and a last minibatch of one example. Tolerance: 1e-4 of the loss, 0.001 of a log forecast."""
    plan = FitPlan(recipe=Hyperparameters(minibatch=64, learning_rate=5e-3), epochs=4, seed=2)
    data = FitData(
        train=made_examples(64 * 20 + 1, seed=1), validation=made_examples(500, seed=2), dispersion=DISPERSION
    )
    write_fit(tmp_path, plan, data)
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=3")
    ran = run_python(*torchrun, "-m", "models.training.fit_rank", tmp_path, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr[-3000:]
    (spread, kept), ratios = read_fitted(tmp_path, plan.recipe.network, data.train.shape)
    alone_ratios = []
    torch.set_num_threads(1)
    alone, kept_alone = fit_network(data, plan, lambda epoch, ratio: alone_ratios.append(ratio))
    assert min(alone_ratios) < 0.97
    assert kept == kept_alone
    assert ratios == pytest.approx(alone_ratios, rel=1e-4)
    values = data.validation.values[None]
    torch.testing.assert_close(spread(values), alone(values), rtol=0, atol=1e-3)

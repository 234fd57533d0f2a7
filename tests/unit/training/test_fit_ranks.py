"""A fit by several processes, each with its share of every minibatch."""

import multiprocessing
import os

import pytest
import torch

from models.hyperparameters import Hyperparameters
from models.training.fit_files import fit_share, read_fitted, write_fit
from models.training.fit_network import FitData, FitPlan, fit_network
from streaming.rehearse.broker import free_port
from tests.harness.made_examples import DISPERSION, made_examples

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

"""A fit by several processes, each with its share of every minibatch."""

from pathlib import Path

import pytest
import torch

from models.hyperparameters import Hyperparameters
from models.training.fit_files import read_fitted, write_fit
from models.training.fit_network import FitData, FitPlan, fit_network
from tests.harness.made_examples import DISPERSION, made_examples
from tests.harness.processes import run_python

ROOT = Path(__file__).parents[3]


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

"""Where a fit runs: a GPU gives what the CPU gives."""

import pytest
import torch
from typer.testing import CliRunner

from models.__main__ import app
from models.hyperparameters import Hyperparameters
from models.training.fit_network import FitData, FitPlan, fit_network
from schemas.errors import SettingsError
from tests.harness.made_examples import DISPERSION, made_examples


def test_a_master_without_workers_is_refused_before_anything_is_read(tmp_path):
    what = ["--data", str(tmp_path / "none.csv"), "--layout", "sample", "--region", "a"]
    with pytest.raises(SettingsError, match="one worker needs no Spark"):
        CliRunner().invoke(app, ["train", *what, "--master", "spark://a:7077"], catch_exceptions=False)


def test_a_gpu_gives_the_network_of_the_cpu():
    """Tolerance: 1e-3 of the loss, 0.01 of a log forecast."""
    if not torch.cuda.is_available():
        pytest.skip("torch finds no GPU here")
    data = FitData(train=made_examples(5000, seed=1), validation=made_examples(1000, seed=2), dispersion=DISPERSION)
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

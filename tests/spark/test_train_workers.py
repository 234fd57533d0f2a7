"""Training over Spark: one fit spread over executors, and regions side by side."""

import math
import shutil
from functools import partial

import pytest
import torch

from models.artifact import Training, champion_of
from models.network_kinds import DEFAULT, Hyperparameters
from models.training.fit_network import FitData, FitPlan, fit_network, read_fitted
from models.training.over_spark import side_by_side
from models.training.region_tasks import RegionTask
from models.training.train_region import train_in_task
from tests.harness.made_examples import DISPERSION, made_examples
from tests.harness.processes import run_python
from tests.harness.small_town import LAYOUT, task_file, write_town
from tests.harness.spark_cluster import ROOT, cluster_environment

MASTER = "local-cluster[2,1,1024]"
PLAN = FitPlan(recipe=Hyperparameters(minibatch=64, learning_rate=5e-3), epochs=4, seed=2)
# Fits the same examples twice by two executors, and then what cannot be fitted.
DRIVER = """
import sys
from pathlib import Path
from models.training.fit_network import write_fit, write_fitted
import numpy as np
from models.dispersion import Dispersion
from models.training.fit_network import fit_spread
from models.training.over_spark import executors
from schemas.errors import PipelineError
from tests.harness.made_examples import DISPERSION
from tests.spark.test_train_workers import MASTER, PLAN, data

folder = Path(sys.argv[1])
log = folder / "shared" / "spark.log"
with executors(MASTER, log):
    other = Dispersion.quadratic(np.ones((9, 9)))
    for name, dispersion in {"first": DISPERSION, "second": DISPERSION, "never": other}.items():
        ratios = []
        try:
            after_epoch = lambda epoch, ratio: ratios.append(ratio)
            network = fit_spread(data(dispersion), PLAN, after_epoch, workers=2, log=log)
        except PipelineError as error:
            print(f"{name}: {error}")
            continue
        (folder / name).mkdir()
        write_fitted(folder / name, network, ratios)
"""


def data(dispersion=DISPERSION):
    return FitData(
        train=made_examples(64 * 20 + 1, seed=1), validation=made_examples(500, seed=2), dispersion=dispersion
    )


@pytest.fixture
def run(tmp_path):
    """run(arguments of Python): what ended, in a process that may start a `local-cluster`."""
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java 17 (Debian: openjdk-17-jre-headless)")
    return partial(run_python, cwd=ROOT, env=cluster_environment(tmp_path))


@pytest.mark.jvm
@pytest.mark.nightly
def test_two_executors_give_the_network_of_one_process_twice_the_same_or_say_why_not(run, tmp_path):
    """Tolerance: 1e-4 of the loss, 0.001 of a log forecast."""
    ran = run("-c", DRIVER, tmp_path)
    log = tmp_path / "shared" / "spark.log"
    assert (ran.returncode, ran.stderr) == (0, ""), ran.stderr[-3000:]
    assert ran.stdout.startswith(f"never: 2 workers did not finish: see {log}")
    assert len(ran.stdout.splitlines()) == 1
    assert "The size of tensor" in log.read_text()
    assert list((tmp_path / "shared").iterdir()) == [log]
    (first, _), ratios = read_fitted(tmp_path / "first", PLAN.recipe.network, data().train.shape)
    (second, _), ratios_again = read_fitted(tmp_path / "second", PLAN.recipe.network, data().train.shape)
    alone_ratios = []
    torch.set_num_threads(1)
    alone = fit_network(data(), PLAN, lambda epoch, ratio: alone_ratios.append(ratio)).network
    assert min(alone_ratios) < 0.97
    assert ratios == pytest.approx(alone_ratios, rel=1e-4)
    values = data().validation.values[None]
    torch.testing.assert_close(first(values), alone(values), rtol=0, atol=1e-3)
    weights, weights_again, weights_alone = (network.state_dict() for network in (first, second, alone))
    assert any(not torch.equal(weights[name], weights_alone[name]) for name in weights)  # two did add up in another way
    assert ratios == ratios_again
    assert all(torch.equal(weights[name], weights_again[name]) for name in weights)


@pytest.mark.jvm
@pytest.mark.nightly
def test_the_command_fits_by_two_workers_and_its_artifact_says_so(run, tmp_path):
    town = write_town(tmp_path / "town.csv", seed=0)
    task = {"data": town, "layout": LAYOUT, "region": "town", "epochs": 2, "step_minutes": 720}
    words = ("--workers", 2, "--out", tmp_path / "artifacts")
    ran = run("-m", "incident_risk", "train", task_file(tmp_path / "task.toml", **task), *words)
    assert (ran.returncode, ran.stderr) == (0, "")
    artifact = champion_of(tmp_path / "artifacts", "town")
    assert artifact.network_fault is None
    assert artifact.manifest.recipe == DEFAULT
    until_s = artifact.manifest.data.cutoff_s
    expected = Training(epochs=2, step_minutes=720, workers=2, device="cpu", fitted_until_s=until_s)
    assert artifact.manifest.training == expected
    assert [path.name for path in (tmp_path / "artifacts").iterdir() if path.is_dir()] == ["town"]


def test_a_task_that_fails_is_named_in_the_log_and_stops_no_other(session, tmp_path):
    ended = dict(side_by_side(session, math.sqrt, [4.0, -1.0, 9.0], workers=2, log=tmp_path / "log"))
    assert ended == {4.0: 2.0, -1.0: None, 9.0: 3.0}
    assert "ValueError" in (tmp_path / "log").read_text()


@pytest.mark.jvm
@pytest.mark.nightly
def test_regions_side_by_side_get_the_artifacts_of_train_and_a_bad_file_stops_none(run, tmp_path):
    tasks = {}
    for seed, region in enumerate(("north", "south")):
        data = write_town(tmp_path / f"{region}.csv", seed=seed)
        tasks[region] = RegionTask(region=region, data=str(data), layout=LAYOUT, seed=3, epochs=2, step_minutes=720)
    (tmp_path / "bad.csv").write_text("when,lat,lon,kind\n")
    alike = {"layout": LAYOUT, "seed": 3, "epochs": 2, "step_minutes": 720}
    tables = [{"region": region, "data": f"{region}.csv", **alike} for region in ("north", "bad", "south")]
    task_file(tmp_path / "regions.toml", *tables)
    where = ("--out", tmp_path / "artifacts", "--workers", 2, "--master", MASTER)
    ran = run("-m", "incident_risk", "train", tmp_path / "regions.toml", *where)
    assert ran.returncode == 3, ran.stderr
    assert "1 of 3 regions have no new artifact: bad: " in ran.stderr
    for region, task in tasks.items():
        spread = champion_of(tmp_path / "artifacts", region)
        here = train_in_task((task, tmp_path / "here"))
        assert (here.fault, f"{region}: {spread.folder}" in ran.stdout) == (None, True)
        alone = champion_of(tmp_path / "here", region)
        assert spread.manifest.files == alone.manifest.files
        assert spread.manifest.evaluation == alone.manifest.evaluation

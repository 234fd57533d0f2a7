"""The GPU that Spark assigns to a task reaches the choice of the device. A script pretends to be nvidia-smi.

A task that was given a GPU where there is no CUDA scores with the network on the CPU; a device that is lost, before or
while it scores, leaves the baseline.
"""

import json
import shutil
import sys

import pandas as pd
import pytest
import torch

from models.artifact import WEIGHTS
from models.features import FeatureEngine
from models.network import ResidualNetwork
from schemas.errors import ArtifactError
from streaming.artifacts_in_force import load_artifact
from streaming.flow.score import score_stage
from tests.harness.cluster import ROOT, cluster_environment
from tests.harness.compose_file import read_compose
from tests.harness.processes import run_python, stand_in
from tests.harness.region_bench import empty_history

SMI = "#!/bin/sh\necho 3\n"  # one GPU, which is not the first


def columns_of(folder, features, *, is_challenger=False):
    """The columns of one row that follows nothing, as Spark gives them to the stage."""
    return [pd.Series([value]) for value in (str(folder), features, is_challenger, 0, None, None)]


# Executors of their own need a process of their own: a run of tests has one session.
DRIVER = """
import json, sys
import torch
import pandas as pd
from pathlib import Path
from models.features import FeatureEngine
from schemas.records import Entry
from streaming.artifacts_in_force import load_artifact
from streaming.flow.workers import Shipment
from pyspark.sql.functions import lit, pandas_udf
from streaming.flow.rows import FIELDS, ScoreColumns, ddl
from streaming.flow.score import score_features, score_stage
from streaming.spark import start_session
from streaming.settings import Settings

master, folder, cache, log = sys.argv[1:]
session = start_session(Settings(master=master, cache=Path(cache), driver_memory="512m"), Path(log))


def devices(batches):
    import pandas as pd
    import torch
    from pyspark import TaskContext
    from streaming.flow.score import task_device

    list(batches)
    without_cuda, is_available = task_device(), torch.cuda.is_available
    torch.cuda.is_available = lambda: True
    with_cuda = task_device()
    torch.cuda.is_available = is_available  # Spark may give this worker to the next stage
    (address,) = TaskContext.get().resources()["gpu"].addresses
    yield pd.DataFrame({"without_cuda": [without_cuda], "with_cuda": [with_cuda], "address": [address]})


seen = session.range(0, 2, 1, 2).mapInPandas(devices, "without_cuda string, with_cuda string, address string", True)
tasks = [row.asDict() for row in seen.collect()]

artifact = load_artifact(folder)
features = FeatureEngine(artifact.spec, artifact.constants).compute(artifact.history()).values.tobytes()
Shipment.of(session.sparkContext).send({"riverton": Entry(folder, artifact.version, "")})
frame = session.createDataFrame([(folder, bytearray(features))], "folder string, features binary")
score_udf = pandas_udf(score_stage(None), returnType=ddl(ScoreColumns))
of_a_champion = lit(False), lit(0).cast("bigint"), lit(None).cast("binary"), lit(None).cast("binary")
(row,) = frame.select(score_udf("folder", "features", *of_a_champion).alias("scores")).collect()
torch.set_num_threads(1)
model, scores = score_features(artifact, artifact.network, features)
equal = all(bytes(row.scores[name]) == getattr(scores, name).astype("<f4").tobytes() for name in FIELDS)
print("RESULT", json.dumps({"tasks": tasks, "model": row.scores.model, "expected": model, "equal": equal}))
session.stop()
"""


@pytest.fixture
def folder(tmp_path, toy, publish):
    """Of an artifact with a network that changes scores."""
    return publish(tmp_path, toy("riverton"), history=empty_history(toy("riverton")))


@pytest.mark.nightly
@pytest.mark.fault("F37")
def test_a_task_takes_the_gpu_that_our_settings_give_it_and_the_cpu_where_there_is_no_cuda(tmp_path, folder, jar_cache):
    settings = tmp_path / "conf"
    shutil.copytree(ROOT / "deploy" / "gpu", settings)
    defaults = settings / "spark-defaults.conf"
    defaults.write_text(defaults.read_text().replace("/etc/spark", str(settings)))
    environment = {**cluster_environment(tmp_path), "PYSPARK_PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": ""}
    environment |= {"PATH": stand_in("nvidia-smi", tmp_path / "bin", SMI), "SPARK_CONF_DIR": str(settings)}
    master = read_compose("compose.gpu.yaml")["services"]["scorer"]["environment"]["RISK_MASTER"]
    ran = run_python("-c", DRIVER, master, folder, jar_cache, tmp_path / "log", cwd=tmp_path, env=environment)
    assert ran.returncode == 0, ran.stderr[-3000:]
    (line,) = [line for line in ran.stdout.splitlines() if line.startswith("RESULT ")]
    result = json.loads(line.removeprefix("RESULT "))
    assert [task["address"] for task in result["tasks"]] == ["3", "3"]  # two share it
    for task in result["tasks"]:
        assert task["with_cuda"] == f"cuda:{task['address']}"
        assert task["without_cuda"] == "cpu"
    assert (result["model"], result["equal"]) == (folder.name, True)
    assert result["expected"] == folder.name


def lost(*_, **__):
    raise RuntimeError("CUDA error: device-side assert triggered")


def features_of(folder):
    artifact = load_artifact(str(folder))
    return FeatureEngine(artifact.spec, artifact.constants).compute(artifact.history()).values.tobytes()


def assert_the_baseline_scores(folder, features, why):
    (rows,) = score_stage(None)(iter([columns_of(folder, features)]))
    (row,) = rows.itertuples()
    assert row.model == f"baseline:{why}"
    assert row.expected == row.usual


@pytest.mark.fault("F37")
@pytest.mark.parametrize("lost_in", [(torch.nn.Module, "to"), (ResidualNetwork, "forward")], ids=["to", "forward"])
def test_a_device_that_is_lost_leaves_the_baseline_and_the_score_says_so(lost_in, folder, monkeypatch):
    features = features_of(folder)
    monkeypatch.setattr(*lost_in, lost)
    assert_the_baseline_scores(folder, features, "RuntimeError")


@pytest.mark.fault("F30")
def test_a_damaged_network_leaves_the_baseline_and_the_score_says_so(folder):
    weights = folder / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    assert_the_baseline_scores(folder, features_of(folder), "network unusable")


def cannot_be_read(folder, monkeypatch):
    (folder / "baseline.npz").write_bytes(b"rubbish")
    return ArtifactError


def fails_as_nobody_foresaw(folder, monkeypatch):
    monkeypatch.setattr(ResidualNetwork, "forward", lambda *_: 1 / 0)
    return ZeroDivisionError


@pytest.mark.parametrize("fault", [cannot_be_read, fails_as_nobody_foresaw])
def test_a_challenger_that_fails_gives_no_scores_and_a_champion_that_does_ends_the_job(
    folder, monkeypatch, fault, caplog
):
    features = features_of(folder)
    load_artifact.__init__(load_artifact._read)  # another process has not read it yet
    error = fault(folder, monkeypatch)
    (rows,) = score_stage(None)(iter([columns_of(folder, features, is_challenger=True)]))
    assert rows.isna().all(axis=None)
    assert error.__name__ in caplog.text
    with pytest.raises(error):
        list(score_stage(None)(iter([columns_of(folder, features)])))

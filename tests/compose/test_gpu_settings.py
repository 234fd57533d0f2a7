"""compose.gpu.yaml's settings on this machine: a program pretends to be nvidia-smi, and the task is given its GPU.

Not run here: a GPU, NVIDIA's container toolkit.
"""

import re
import shutil
from pathlib import Path

import pytest

from tests.harness.cluster import cluster_environment
from tests.harness.compose_file import ROOT, mounts, read_compose
from tests.harness.processes import run, run_python, stand_in

SCORER = read_compose("compose.gpu.yaml")["services"]["scorer"]
SMI = """#!/bin/sh
[ "$*" = "--query-gpu=index --format=csv,noheader" ] && printf '%b' "$GPUS"
"""
DRIVER = """
import sys
from pathlib import Path
from pyspark import TaskContext
from streaming.job.session import start_session
from streaming.settings import Settings

def addresses(_):
    yield ",".join(TaskContext.get().resources()["gpu"].addresses)

master, cache, log = sys.argv[1:]
settings = Settings(master=master, cache=Path(cache), driver_memory="512m")
session = start_session(settings, Path(log))
session.sparkContext.setLogLevel("OFF")
print("GPUS", session.sparkContext.parallelize([1, 2], 2).mapPartitions(addresses).collect())
session.stop()
"""


@pytest.fixture
def smi(tmp_path):
    return stand_in("nvidia-smi", tmp_path / "bin", SMI)


@pytest.mark.parametrize(
    ("listed", "told"), [("0\\n", '["0"]'), ("0\\n1\\n", '["0","1"]'), ("", "[]")], ids=["one", "two", "none"]
)
def test_gpus_are_told_as_spark_wants_to_hear_it(smi, listed, told):
    script = ROOT / "deploy" / "gpu" / "gpus.sh"
    ran = run(script, env={"PATH": smi, "GPUS": listed})
    assert ran.stdout == f'{{"name": "gpu", "addresses": {told}}}\n'


def test_spark_looks_for_its_settings_where_they_are_mounted():
    ((source, target, is_read_only),) = mounts(SCORER)
    assert (source, target, is_read_only) == ("./deploy/gpu", SCORER["environment"]["SPARK_CONF_DIR"], True)
    text = (ROOT / "deploy" / "gpu" / "spark-defaults.conf").read_text(encoding="utf-8")
    named = re.findall(r"(/etc/spark/\S+)", text)
    assert named
    assert all((ROOT / source / Path(path).relative_to(target)).is_file() for path in named)


@pytest.mark.nightly
def test_a_task_is_given_the_gpu(smi, tmp_path, jar_cache):
    folder = tmp_path / "conf"
    shutil.copytree(ROOT / "deploy" / "gpu", folder)
    settings = folder / "spark-defaults.conf"
    settings.write_text(settings.read_text().replace("/etc/spark", str(folder)))
    log = tmp_path / "log"
    environment = {**cluster_environment(tmp_path), "PATH": smi, "GPUS": "0\\n", "SPARK_CONF_DIR": str(folder)}
    arguments = (SCORER["environment"]["RISK_MASTER"], jar_cache, log)
    ran = run_python("-c", DRIVER, *arguments, cwd=tmp_path, env=environment)
    assert ran.returncode == 0, ran.stderr[-2000:] + (log.read_text()[-2000:] if log.exists() else "")
    assert "GPUS ['0', '0']" in ran.stdout

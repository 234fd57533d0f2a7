"""compose.gpu.yaml's settings: tests/spark/test_device.py starts Spark with them. Not run: a GPU, NVIDIA's toolkit."""

import re
from pathlib import Path

import pytest

from tests.harness.compose_file import ROOT, mounts, read_compose
from tests.harness.processes import run, stand_in

SCORER = read_compose("compose.gpu.yaml")["services"]["scorer"]
SMI = """#!/bin/sh
[ "$*" = "--query-gpu=index --format=csv,noheader" ] && printf '%b' "$GPUS"
"""


@pytest.mark.parametrize(
    ("listed", "told"), [("0\\n", '["0"]'), ("0\\n1\\n", '["0","1"]'), ("", "[]")], ids=["one", "two", "none"]
)
def test_gpus_are_told_as_spark_wants_to_hear_it(tmp_path, listed, told):
    script = ROOT / "deploy" / "gpu" / "gpus.sh"
    ran = run(script, env={"PATH": stand_in("nvidia-smi", tmp_path / "bin", SMI), "GPUS": listed})
    assert ran.stdout == f'{{"name": "gpu", "addresses": {told}}}\n'


def test_spark_looks_for_its_settings_where_they_are_mounted():
    ((source, target, is_read_only),) = mounts(SCORER)
    assert (source, target, is_read_only) == ("./deploy/gpu", SCORER["environment"]["SPARK_CONF_DIR"], True)
    text = (ROOT / "deploy" / "gpu" / "spark-defaults.conf").read_text(encoding="utf-8")
    named = re.findall(r"(/etc/spark/\S+)", text)
    assert named
    assert all((ROOT / source / Path(path).relative_to(target)).is_file() for path in named)

"""The service needs no more than the frames: of the model only what says which posts reach what: NumPy alone."""

import subprocess
import sys


def test_its_process_has_neither_the_model_nor_torch_nor_spark():
    script = "import sys, service.app; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    modules = ran.stdout.split()
    packages = {name.partition(".")[0] for name in modules}
    assert not {"torch", "scipy", "pyspark", "kafka", "influxdb_client"} & packages
    assert {"streaming", "schemas", "fastapi"} <= packages
    of_models = {name for name in modules if name.startswith("models.")}
    assert {name for name in of_models if not name.startswith("models.readiness")} == set()
    assert not of_models & {"models.readiness.plan", "models.readiness.demand", "models.readiness.exact"}

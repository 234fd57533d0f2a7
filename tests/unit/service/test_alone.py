"""The service needs no more than the frames: nothing that computes a score comes into its process."""

import subprocess
import sys


def test_its_process_has_neither_the_model_nor_torch_nor_spark():
    script = "import sys, service.app; print(*{name.partition('.')[0] for name in sys.modules})"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"models", "torch", "pyspark", "kafka", "influxdb_client"} & set(ran.stdout.split())
    assert {"streaming", "schemas", "fastapi"} <= set(ran.stdout.split())

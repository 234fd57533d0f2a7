"""`check` imports no Spark: it starts in a second and needs no Java."""

import os

from tests.harness.processes import run_python
from tests.harness.toy import toy_artifact, toy_spec

CHECK = """
import sys
from incident_risk import main

sys.argv[1:] = ["check", "night.jsonl"]
try:
    main()
except SystemExit as ended:
    print("it ended with", ended.code)
print("Spark was imported:", "pyspark" in sys.modules)
"""


def test_check_imports_no_spark(tmp_path):
    toy_artifact(tmp_path / "artifacts", toy_spec())
    (tmp_path / "night.jsonl").write_text('{"region": "elsewhere"}\n', encoding="utf-8")
    ours = {"RISK_ARTIFACTS": str(tmp_path / "artifacts"), "COLUMNS": "200"}
    ran = run_python("-c", CHECK, cwd=tmp_path, env={**os.environ, **ours})
    assert ran.returncode == 0, ran.stderr
    assert "1 message, by the artifacts of toyville: 1 refused" in ran.stdout
    assert ran.stdout.splitlines()[-2:] == ["it ended with 3", "Spark was imported: False"]

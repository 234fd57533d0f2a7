"""What only reads small files imports neither torch nor Spark: it answers in a second, in place of ten."""

import os

from tests.harness.processes import run_python

COMMANDS = """
import sys
from contextlib import suppress
from lifecycle.__main__ import main

heavy = {"torch", "pyspark", "scipy", "pandas", "pyarrow", "sklearn", "matplotlib"}
for words in %r:
    sys.argv = ["lifecycle", *words]
    with suppress(SystemExit):
        main()
print("imported:", sorted(heavy & sys.modules.keys()))
"""


def test_help_the_list_of_versions_and_the_state_of_a_trial_import_nothing_heavy(trial):
    trial.judged(12, better=1.0)
    commands = [["--help"], ["retrain", "--help"], ["gate", "--help"], ["versions"], ["gate", "status", "town"]]
    ran = run_python("-c", COMMANDS % commands, env=os.environ | trial.environment)
    assert ran.returncode == 0, ran.stderr
    for words in ("A challenger on its way to the map", trial.state().challenger, "trials within 365 days"):
        assert words in ran.stdout
    assert ran.stdout.endswith("imported: []\n")

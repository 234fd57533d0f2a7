"""What only reads small files imports neither torch nor Spark: it answers in a second, in place of ten."""

import os

import pytest

from tests.harness.processes import run_python

COMMAND = """
import sys
from lifecycle.__main__ import main

heavy = {"torch", "pyspark", "scipy", "pandas", "pyarrow", "sklearn", "matplotlib"}
try:
    main()
finally:
    print("imported:", sorted(heavy & sys.modules.keys()))
"""


def said(*words, **environment):
    ran = run_python("-c", COMMAND, *words, env=os.environ | environment)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.parametrize("words", [["--help"], ["retrain", "--help"], ["gate", "--help"]], ids=" ".join)
def test_help_imports_nothing_heavy(words):
    assert said(*words).endswith("imported: []\n")


def test_the_list_of_versions_and_the_state_of_a_trial_import_nothing_heavy(trial):
    trial.judged(12, better=1.0)
    listed = said("versions", **trial.environment)
    assert trial.state().challenger in listed
    assert listed.endswith("imported: []\n")
    judged = said("gate", "status", "town", **trial.environment)
    assert "trials within 365 days" in judged
    assert judged.endswith("imported: []\n")

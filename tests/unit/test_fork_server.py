"""A command of the fork server is a process like any other."""

import os
import subprocess
import sys

import pytest

from tests.harness.fork_server import ROOT

PROGRAM = """
import os, sys
print(__name__, sys.argv[1:], os.getcwd(), sorted(os.environ), os.getpgid(0) == os.getpid(), sys.stdin.read())
print("told", file=sys.stderr)
sys.exit({"seven": 7, "words": "why"}.get(sys.argv[1]))
"""
ENVIRONMENT = {"PATH": os.environ["PATH"], "LC_CTYPE": "C.UTF-8", "RISK_OF_THE_TEST": "ä"}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "program_of_the_test.py").write_text(PROGRAM, encoding="utf-8")
    return tmp_path


def real(module, *words, cwd):
    command = [sys.executable, "-m", module, *words]
    return subprocess.run(
        command, cwd=cwd, env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("words", [("none",), ("seven", "two words"), ("words",)])
def test_it_gives_what_a_real_process_gives(commands, folder, words):
    forked = commands.run("program_of_the_test", *words, cwd=folder, env=ENVIRONMENT)
    alone = real("program_of_the_test", *words, cwd=folder)
    assert (forked.returncode, forked.stdout, forked.stderr) == (alone.returncode, alone.stdout, alone.stderr)


@pytest.mark.parametrize("words", [("health",), ("check", "no file")])
def test_a_command_of_the_product_ends_as_it_does_alone(commands, words):
    forked, alone = commands.run("incident_risk", *words, env=ENVIRONMENT), real("incident_risk", *words, cwd=ROOT)
    assert (forked.returncode, forked.stdout, forked.stderr) == (alone.returncode, alone.stdout, alone.stderr)

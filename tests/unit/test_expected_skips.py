"""A test that is left out where it need not be fails a run of CI."""

import os

import pytest

from tests.harness.compose_file import ROOT
from tests.harness.processes import run_python

SKIPS = """
import pytest
def test_passes(): pass
@pytest.mark.skipif(True, reason={reason!r})
def test_is_left_out(): pass
"""
LISTED, UNLISTED = "torch finds no GPU here", "influxd is not installed: apt-get install influxdb"


@pytest.mark.parametrize(
    ("reason", "ci", "code", "more"),
    [
        (LISTED, "true", 0, ()),
        (UNLISTED, "true", 1, ()),
        (UNLISTED, "true", 1, ("-n", "1")),
        (UNLISTED, "", 0, ()),
    ],
)
def test_a_reason_that_is_not_listed_fails_ci_and_is_printed_elsewhere(tmp_path, reason, ci, code, more):
    (tmp_path / "test_it.py").write_text(SKIPS.format(reason=reason), encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {"PYTHONPATH": str(ROOT), "CI": ci}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    plugins = ("-p", "tests.harness.needs", "-p", "xdist", "-p", "no:cacheprovider")
    ran = run_python(
        "-m", "pytest", "-q", *plugins, "-c", os.devnull, "--rootdir", tmp_path, *more, tmp_path, env=environment
    )
    assert ran.returncode == code, ran.stdout + ran.stderr
    assert (f"1 x {UNLISTED}" in ran.stdout) == (reason == UNLISTED)

"""RISK_LOG_LEVEL: what of our own lines `run` logs; those of libraries stay out whatever it says."""

import subprocess
import sys

import pytest

_LOGS = """
import logging, sys
from streaming.cli.job_commands import log_from
log_from(sys.argv[1])
for name in ("streaming.job", "kafka.conn"):
    for level in ("info", "warning", "error"):
        getattr(logging.getLogger(name), level)(f"{name} {level}")
"""


@pytest.mark.parametrize(
    ("level", "logged"),
    [("info", ["info", "warning", "error"]), ("warning", ["warning", "error"]), ("error", ["error"])],
)
def test_lines_below_the_level_are_left_out(level, logged):
    ran = subprocess.run([sys.executable, "-c", _LOGS, level], capture_output=True, text=True, check=True)
    lines = ran.stderr.splitlines()
    assert [line.rsplit(maxsplit=2)[1:] for line in lines] == [["streaming.job", word] for word in logged]

"""A plugin of pytest: in CI a run fails that left out a test for a reason that is not listed here.

Elsewhere such reasons are only printed at the end. Without this, a CI whose machine lost Java or the store would be
green having tested nothing of them.
"""

import os
import re
from collections import Counter

EXPECTED = {  # pattern of a reason -> why CI may do without
    r"real incident file is not at|source's terms are not at|lies in \.\./shared/data": "the full files are not ours",
    r"torch finds no GPU": "CI has no GPU",
    r"^docker-compose .*`make compose-check`": "GitHub, which has it, may be out of reach",
    r"^Kafka's image can": "what it is made of may be out of reach",
    r"^(actionlint|npm-groovy-lint) is not installed: `make pipelines-check`": "Go or npm may be missing",
    r"^moto could not be fetched": "PyPI may be out of reach",
    r"^the packages of tests/harness/chromium could not be fetched": "npm's registry may be out of reach",
    r"^no Docker engine can be started here|^a stack lives on this Docker engine": "`make stack` fails without one",
    r"^no kubectl": "no package registry of CI's has it; every file is checked by itself",
    r"^no ogrinfo on this machine": "GDAL is 150 MB for three tests",
    r"^no MLflow server: ": "600 MB of packages in an environment of their own, whose pins contradict ours",
    r"^no file system can be mounted here": "CI's user may not mount",
    r"^not a (git checkout|checkout of git)": "CI's copy may be an archive",
}


def is_expected(reason: str) -> bool:
    return any(re.search(pattern, reason) for pattern in EXPECTED)


def unexpected(terminal) -> Counter:
    """reason -> how many tests were left out for it, of those that are not listed."""
    reasons = (report.longrepr[2].removeprefix("Skipped: ") for report in terminal.stats.get("skipped", ()))
    return Counter(reason for reason in reasons if not is_expected(reason))


def terminal_of(config):
    return config.pluginmanager.get_plugin("terminalreporter")


def pytest_sessionfinish(session, exitstatus):
    terminal = terminal_of(session.config)  # a worker of xdist has none
    if terminal and exitstatus == 0 and os.environ.get("CI") and unexpected(terminal):
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter):
    found = unexpected(terminalreporter)
    if found:
        terminalreporter.section("left out, and not by a reason of tests/harness/expected_skips.py: CI fails by it")
    for reason, count in found.most_common():
        terminalreporter.line(f"{count} x {reason}")

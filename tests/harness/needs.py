"""A plugin of pytest: what a test needs decides its marks, its time limit, and which worker of xdist runs it.

A fixture says what a test needs. A test that starts Java, a store or a browser by itself carries the mark.

In CI a run fails that left out a test for a reason that is not listed here; elsewhere such reasons are only printed at
the end. Without this, a CI whose machine lost Java or the store would be green having tested nothing of them.
"""

import os
import re
from collections import Counter

import pytest
from _pytest.nodeid import NodeId

FIXTURES = {  # mark -> fixtures whose tests need it
    "jvm": {"jar_cache", "session"},
    "browser": {"page_program"},
    "store": {"influxdb", "victoria_metrics", "s3"},
    "engine": {"docker"},
}
LIMIT_S, NIGHTLY_LIMIT_S = 240, 3600
LIMITS_S = {"jvm": 600, "engine": 600, "browser": 1200}  # of a browser: the first test fetches its packages
# Workers take these groups first and in this order, the longest ones: what begins last and lasts leaves cores idle.
FIRST = (
    *("own broker", "broker", "store", "session", "gate", "mlflow"),
    *("test_training", "test_leaks", "test_fit_baseline", "test_evaluation_run", "test_fit_network", "test_calendar"),
)
# What a fixture makes once a session in seconds, its tests share, wherever they stand.
TOGETHER = {"opened_town": "gate", "mlflow_template": "mlflow"}  # fixture -> group


def pytest_xdist_auto_num_workers(config) -> int:
    """One more than cores: a test of the whole job mostly waits."""
    return len(os.sched_getaffinity(0)) + 1


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items) -> None:
    groups = {}
    for item in items:
        needs = {mark for mark, names in FIXTURES.items() if names.intersection(item.fixturenames)}
        needs |= {mark.name for mark in item.iter_markers()} & set(FIXTURES)
        for need in needs:
            item.add_marker(need)
        if not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(limit_s(item, needs)))
        groups[item] = group_of(item, needs)
    items.sort(key=lambda item: place(groups[item]))  # stable: the tests of a file stay together
    if getattr(config.option, "loadgroup", False):
        for item in items:
            tell_xdist(item, groups[item])


def limit_s(item, needs: set[str]) -> int:
    if item.get_closest_marker("nightly"):
        return NIGHTLY_LIMIT_S
    return max([LIMIT_S, *(LIMITS_S.get(need, 0) for need in needs)])


def group_of(item, needs: set[str]) -> str:
    """One Spark session, one store and one open broker for the run; other tests stay with their file
    or with what is made for all of them.

    What has a broker of its own, or one that lets nobody in, shares a worker, too: half of the jobs each.
    """
    if "jvm" in needs:
        if "session" in item.fixturenames:
            return "session"
        return "broker" if "broker" in item.fixturenames and "kafka" not in item.fixturenames else "own broker"
    # A container that comes or goes changes the network, and a browser then drops its requests: not beside one another.
    if needs & {"browser", "engine"} or "influxdb" in item.fixturenames:
        return "store"
    if "s3" in item.fixturenames:
        return "s3"
    return next((group for fixture, group in TOGETHER.items() if fixture in item.fixturenames), item.path.stem)


def place(group: str) -> int:
    return FIRST.index(group) if group in FIRST else len(FIRST)


def tell_xdist(item, group: str) -> None:
    """`TEST@GROUP` is what the mark `xdist_group` makes of a name. xdist 3.8 can no longer do it with pytest 9.2."""
    item._id = NodeId.parse(f"{item.nodeid}@{group}")


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


def unexpected(terminal) -> Counter:
    """reason -> how many tests were left out for it, of those that are not listed."""
    reasons = (report.longrepr[2].removeprefix("Skipped: ") for report in terminal.stats.get("skipped", ()))
    return Counter(reason for reason in reasons if not any(re.search(pattern, reason) for pattern in EXPECTED))


def pytest_sessionfinish(session, exitstatus):
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")  # a worker of xdist has none
    if terminal and exitstatus == 0 and os.environ.get("CI") and unexpected(terminal):
        session.exitstatus = 1


def pytest_terminal_summary(terminalreporter):
    reasons = unexpected(terminalreporter)
    if reasons:
        terminalreporter.section("left out, and not by a reason of tests/harness/needs.py: CI fails by it")
    for reason, count in reasons.most_common():
        terminalreporter.line(f"{count} x {reason}")

"""A plugin of pytest: what a test needs decides its marks, its time limit, and which worker of xdist runs it.

A fixture says what a test needs. A test that starts Java, a store or a browser by itself carries the mark.
"""

import os

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

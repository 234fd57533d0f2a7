"""Which tests play which fault: pytest collects them by their mark."""

from collections import defaultdict
from pathlib import Path

import pytest


class Marked:
    """A plugin of pytest. tests: fault -> the node ids of the tests that carry its mark."""

    def __init__(self):
        self.tests = defaultdict(list)

    def pytest_collection_finish(self, session):
        for item in session.items:
            for fault in {fault for mark in item.iter_markers("fault") for fault in mark.args}:
                self.tests[fault].append(item.nodeid)


def run_marked(*options):
    """Run pytest over all tests with a mark: (its exit code, the tests by their fault)."""
    files = [str(path) for path in sorted(Path("tests").rglob("test_*.py")) if "mark.fault(" in path.read_text("utf-8")]
    marked = Marked()
    code = pytest.main([*files, "-m", "fault", *options], plugins=[marked])
    return int(code), dict(sorted(marked.tests.items()))

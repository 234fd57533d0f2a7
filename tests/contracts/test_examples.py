"""The examples in docstrings run as they stand there."""

import doctest
import importlib
import re

import pytest

from tests.contracts.test_imports import PACKAGES, ROOT

WITH_EXAMPLES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for room in (*PACKAGES, "docs", "benchmarks")
    for path in sorted((ROOT / room).rglob("*.py"))
    if re.search(r"^ +>>> ", path.read_text(encoding="utf-8"), re.MULTILINE)
]


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_the_examples_of_a_module_run(module, monkeypatch):
    monkeypatch.chdir(ROOT)
    outcome = doctest.testmod(importlib.import_module(module), verbose=False)
    assert outcome.failed == 0 < outcome.attempted

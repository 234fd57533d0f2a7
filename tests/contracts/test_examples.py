"""The examples in docstrings run as they stand there, and every public function has one."""

import doctest
import importlib
import re

import pytest

from docs.public_names import PUBLIC
from tests.contracts.test_imports import PACKAGES, ROOT

NAMES = [
    (module, name.partition("(")[0])
    for modules in PUBLIC.values()
    for module, names in modules.items()
    for name in names.split()
]

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


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_a_public_function_has_an_example(module, name):
    value = getattr(importlib.import_module(module), name)
    assert value.__doc__
    assert isinstance(value, type) or ">>> " in value.__doc__

"""The examples in the docstrings of the public names, which docs/reference/python.md lists, run as they stand there."""

import doctest
import importlib
import re

import pytest

from tests.contracts.test_readme import ROOT

PAGE = (ROOT / "docs" / "reference" / "python.md").read_text(encoding="utf-8")
LISTED = re.findall(r"\.\. (?:currentmodule|automodule):: (\S+)|\.\. auto(?:class|function):: (\w+)", PAGE)


def public_names():
    """(module, name) of each listed name."""
    module = ""
    for named_module, name in LISTED:
        module = named_module or module
        if name:
            yield module, name


@pytest.mark.parametrize("module", sorted({module for module, _ in LISTED if module}))
def test_the_examples_of_a_module_run(module, monkeypatch):
    monkeypatch.chdir(ROOT)
    outcome = doctest.testmod(importlib.import_module(module), verbose=False)
    assert outcome.failed == 0


@pytest.mark.parametrize(("module", "name"), list(public_names()))
def test_a_public_function_has_an_example(module, name):
    value = getattr(importlib.import_module(module), name)
    assert value.__doc__
    assert isinstance(value, type) or ">>> " in value.__doc__

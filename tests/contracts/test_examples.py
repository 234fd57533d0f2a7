"""The examples in the docstrings of the public names run as they stand there."""

import doctest
import importlib

import pytest

from docs.public_names import PUBLIC
from tests.contracts.test_readme import ROOT

NAMES = [
    (module, name.partition("(")[0])
    for modules in PUBLIC.values()
    for module, names in modules.items()
    for name in names.split()
]


@pytest.mark.parametrize("module", sorted({module for module, _ in NAMES} | {"schemas.errors"}))
def test_the_examples_of_a_module_run(module, monkeypatch):
    monkeypatch.chdir(ROOT)
    outcome = doctest.testmod(importlib.import_module(module), verbose=False)
    assert outcome.failed == 0


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_a_public_function_has_an_example(module, name):
    value = getattr(importlib.import_module(module), name)
    assert value.__doc__
    assert isinstance(value, type) or ">>> " in value.__doc__

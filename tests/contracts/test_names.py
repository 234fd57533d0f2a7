"""Names: nobody else's distribution may install something under ours, and inside a module none hides another."""

import ast
import re
from importlib.metadata import distributions

from tests.contracts.test_imports import PACKAGES, ROOT

OURS = re.compile(r"^(?:schemas|models|streaming|lifecycle|service)(?:/|\.py,)", re.MULTILINE)


def test_no_other_distribution_installs_a_file_under_our_names():
    owners = {
        distribution.metadata["Name"]
        for distribution in distributions()
        if OURS.search(distribution.read_text("RECORD") or "")
    }
    assert owners <= {"incident-risk-scorer"}


def modules(*rooms):
    """(path, its syntax) of each module."""
    for path in (path for room in rooms for path in sorted((ROOT / room).rglob("*.py"))):
        yield path.relative_to(ROOT).as_posix(), ast.parse(path.read_bytes())


def names_of(module):
    """What a module's own lines define or import."""
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((alias.asname or alias.name).partition(".")[0] for alias in node.names)


def locals_of(function):
    """Parameters, and names that a function or one inside it binds."""
    for node in ast.walk(function):
        if isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def test_no_class_shares_its_name_with_a_function_beside_it():
    shared = {
        (path, name)
        for path, module in modules(*PACKAGES, "grafana-provisioning", "benchmarks", "docs")
        for classes in [{node.name for node in module.body if isinstance(node, ast.ClassDef)}]
        for name in {name.lower() for name in classes} & {*names_of(module)}
    }
    assert shared == set()


def test_no_local_name_hides_a_function_a_class_or_an_import():
    """Pylint's W0621, which Ruff has not."""
    hidden = {
        (path, name)
        for path, module in modules(*PACKAGES, "grafana-provisioning", "docs")
        for function in ast.walk(module)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for name in {*locals_of(function)} & {*names_of(module)} - {"_"}
    }
    assert hidden == set()

"""Who may import, read and name what."""

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("schemas", "models", "streaming", "lifecycle", "service")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MODULES_OF_SCHEMAS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "schemas").rglob("*.py")
    if not path.stem.startswith("__")
)


def python(code):
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)


def test_imports_go_one_way():
    linted = python("from importlinter.cli import lint_imports; import sys; sys.exit(lint_imports(no_cache=True))")
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_the_vocabulary_pulls_in_no_heavy_package():
    heavy = {"torch", "pyspark", "pandas", "pyarrow", "kafka", "influxdb_client", "pydantic", "typer", "rich"}
    done = python(f"import sys, {', '.join(MODULES_OF_SCHEMAS)}; print(sorted({heavy!r} & sys.modules.keys()))")
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_the_mathematics_pulls_in_no_spark_store_or_broker():
    names = [f"models.{path.stem}" for path in sorted((ROOT / "models").glob("*.py")) if path.stem != "__main__"]
    heavy = {"pyspark", "kafka", "influxdb_client"}
    done = python(f"import sys, {', '.join(names)}; print(sorted({heavy!r} & sys.modules.keys()))")
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


def dotted(node):
    """`a.b.c` for the attribute of an attribute of a name, else None."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := dotted(node.value)):
        return f"{before}.{node.attr}"
    return None


def names_used(source):
    """Every imported module, imported name and dotted name, and `name=True` for every such argument."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names):
                yield from (f"{module}.{alias.name}" for alias in names)
            case ast.Attribute():
                if name := dotted(node):
                    yield name
            case ast.keyword(arg=str(name), value=ast.Constant(value=True)):
                yield f"{name}=True"


ENVIRONMENT = re.compile(r"os\.(environb?|getenvb?|putenv|unsetenv)(\..+)?")
EXECUTES = re.compile(r"(pickle|cPickle|cloudpickle|dill|joblib|shelve|marshal)(\..+)?|torch\.load|allow_pickle=True")


@pytest.mark.parametrize(
    ("source", "pattern", "caught"),
    [
        ("import os\nos.environ['A']", ENVIRONMENT, True),
        ("from os import environ", ENVIRONMENT, True),
        ("import os\nos.getenv('A')", ENVIRONMENT, True),
        ("environ = {}", ENVIRONMENT, False),
        ("import pickle", EXECUTES, True),
        ("from pickle import loads", EXECUTES, True),
        ("import torch\ntorch.load('x')", EXECUTES, True),
        ("from torch import load", EXECUTES, True),
        ("np.load('x', allow_pickle=True)", EXECUTES, True),
        ("np.load('x', allow_pickle=False)\nsafetensors.torch.load(b'')", EXECUTES, False),
    ],
)
def test_the_search_finds_what_it_is_for(source, pattern, caught):
    assert any(pattern.fullmatch(name) for name in names_used(source)) is caught


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_reads_no_environment_and_loads_nothing_that_executes(path):
    used = set(names_used(path.read_text(encoding="utf-8")))
    assert [name for name in used if EXECUTES.fullmatch(name)] == []
    if path not in (ROOT / "streaming" / "__main__.py", ROOT / "lifecycle" / "__main__.py"):
        assert [name for name in used if ENVIRONMENT.fullmatch(name)] == []


REGISTRIES = ("pypi", "pythonhosted", "npmjs", "maven", "sonatype", "anaconda", "docker", "quay", "ghcr", "crates")
REGISTRY_HOST = re.compile(rf"\b(?:[\w-]+\.)*(?:{'|'.join(REGISTRIES)})\.(?:org|com|io|dev)\b")
DEBIANS_PACKAGE = "deploy/ansible/roles/engine/defaults/main.yml: docker" + ".io"
MACHINE_PATH = re.compile(r"(?<![\w.}~-])/(?:work|root|home/\w+|Users/\w+)/\w")


def tracked_texts():
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: there is no list of tracked files")
    listed = subprocess.run([git, "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
    for name in listed.decode().split("\0"):
        path = ROOT / name
        if name and path.is_file() and b"\0" not in (content := path.read_bytes()):
            yield name, content.decode("utf-8", errors="replace")


def test_no_tracked_text_names_a_package_registry_or_a_path_of_one_machine():
    found = [
        f"{name}: {match[0]}"
        for name, text in tracked_texts()
        for pattern in (REGISTRY_HOST, MACHINE_PATH)
        for match in pattern.finditer(text)
    ]
    assert set(found) <= {DEBIANS_PACKAGE}


def test_such_names_would_be_found():
    assert REGISTRY_HOST.search("https://files.pythonhosted" + ".org/x")
    assert REGISTRY_HOST.search("docker" + ".io/library/x")
    assert MACHINE_PATH.search("see /work" + "/main")
    assert not MACHINE_PATH.search("frame/work/of and https://example.org/work/x and ./work/x")


def test_the_job_imports_no_mlflow():
    """MLflow takes seconds, and brings what a job must not have: the registry's commands alone import it."""
    files = sorted((ROOT / "streaming").rglob("*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files if path.stem != "__main__"]
    names.append("lifecycle.cli.versions")
    code = f"import sys, {', '.join(names)}; print(sorted(n for n in sys.modules if 'mlflow' in n))"
    done = python(code.replace(".__init__", ""))
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


def test_only_one_file_names_mlflow():
    naming = [path for path in SOURCES if any(name.split(".")[0] == "mlflow" for name in names_used(path.read_text()))]
    assert naming == [ROOT / "lifecycle" / "registry" / "mlflow.py"]

"""Who may import, read and name what."""

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("schemas", "models", "streaming", "lifecycle", "service")


def modules_in(package):
    paths = sorted((ROOT / package).rglob("*.py"))
    return [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in paths if not path.stem.startswith("__")]


def python(code):
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def pulled_in():
    """The packages that are in memory once the vocabulary, then the mathematics too, then the job too are imported."""
    mathematics = [f"models.{path.stem}" for path in (ROOT / "models").glob("*.py") if not path.stem.startswith("__")]
    stages = [modules_in("schemas"), mathematics, [*modules_in("streaming"), "lifecycle.cli.versions"]]
    packages = "print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = python("import json, sys\n" + "\n".join(f"import {', '.join(names)}\n{packages}" for names in stages))
    assert (done.returncode, done.stderr) == (0, "")
    return dict(
        zip(("vocabulary", "mathematics", "job"), map(set, map(json.loads, done.stdout.splitlines())), strict=True)
    )


@pytest.mark.parametrize(
    ("stage", "heavy"),
    [
        ("vocabulary", "torch pyspark pandas pyarrow kafka influxdb_client pydantic typer rich"),
        ("mathematics", "pyspark kafka influxdb_client"),
        ("job", "mlflow mlflow_skinny"),  # it takes seconds, and brings what a job must not have
    ],
)
def test_an_import_pulls_in_nothing_heavy(pulled_in, stage, heavy):
    assert pulled_in[stage] & set(heavy.split()) == set()


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


@pytest.fixture(scope="module")
def used_by_file():
    return {
        str(path.relative_to(ROOT)): set(names_used(path.read_text(encoding="utf-8")))
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
    }


def files_that_use(pattern, used_by_file):
    return {file for file, names in used_by_file.items() if any(map(pattern.fullmatch, names))}


def test_no_module_loads_what_executes_and_only_programs_read_the_environment(used_by_file):
    assert len(used_by_file) > 250
    assert files_that_use(EXECUTES, used_by_file) == set()
    readers = {
        "streaming/__main__.py",
        "lifecycle/__main__.py",
        "streaming/watch/__main__.py",
        "streaming/cli/pod.py",  # what Spark told a pod
        "streaming/job/jars.py",  # the Java that Spark will start
    }
    assert files_that_use(ENVIRONMENT, used_by_file) == readers


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
    places = [
        f"{name}: {match[0]}"
        for name, text in tracked_texts()
        for pattern in (REGISTRY_HOST, MACHINE_PATH)
        for match in pattern.finditer(text)
    ]
    assert set(places) <= {DEBIANS_PACKAGE}


def test_such_names_would_be_found():
    assert REGISTRY_HOST.search("https://files.pythonhosted" + ".org/x")
    assert REGISTRY_HOST.search("docker" + ".io/library/x")
    assert MACHINE_PATH.search("see /work" + "/main")
    assert not MACHINE_PATH.search("frame/work/of and https://example.org/work/x and ./work/x")


def test_only_one_file_names_mlflow(used_by_file):
    assert files_that_use(re.compile(r"mlflow(\..+)?"), used_by_file) == {"lifecycle/registry/mlflow.py"}

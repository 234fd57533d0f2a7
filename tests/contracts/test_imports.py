"""Who may import, read and name what; and the examples in docstrings run."""

import doctest
import importlib
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.size import lines_reached

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
    stages = [modules_in("schemas"), mathematics, [*modules_in("streaming"), "lifecycle.version_commands"]]
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


@pytest.fixture(scope="module")
def texts():
    """The source of every file of the packages, by its path."""
    paths = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))] + [
        ROOT / "incident_risk.py"
    ]
    return {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in paths}


def test_only_these_files_may_do_what_ruff_bans(texts):
    """Ruff (TID251) bans what executes when it is loaded, and to read the environment outside of a program."""
    assert len(texts) > 60
    assert {file for file, text in texts.items() if re.search(r"noqa(?!:)|noqa:.*TID251|ruff: noqa", text)} == {
        "incident_risk.py",
        "streaming/job_health.py",
        "streaming/flow/worker_daemon.py",
        "streaming/cli/job_commands.py",  # what Spark told a pod
        "streaming/jars.py",  # the Java that Spark will start
        "lifecycle/watch.py",  # the parts that it starts
    }


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


def test_only_one_file_names_mlflow(texts):
    named = {file for file, text in texts.items() if re.search(r"^\s*(import|from) mlflow\b", text, re.MULTILINE)}
    assert named == {"lifecycle/mlflow_registry.py"}


def test_the_job_reaches_nothing_that_judges_or_reads_files_of_incidents():
    lines = lines_reached("streaming.cli.job_commands")
    rooms = {module.rpartition(".")[0] for module in lines}
    assert not {"lifecycle", "models.files"} & rooms
    assert {"streaming.sinks.influx", "models.network"} <= lines.keys()  # by their names in tables


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

"""Where and with what a run was made."""

import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.local_store import BINARIES
from streaming.job.jars import KAFKA_VERSION

_PACKAGES = (
    "pyspark",
    "torch",
    "numpy",
    "pyarrow",
    "pandas",
    "msgspec",
    "kafka-python",
    "confluent-kafka",
    "influxdb-client",
)


def describe_machine() -> dict[str, Any]:
    """Processor, cores we may use, memory, and how busy the machine already is."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load_average_at_start": [round(value, 2) for value in os.getloadavg()],
        "system": platform.platform(),
    }


def describe_versions() -> dict[str, str]:
    """Of everything that takes part; the rivals' are added where they ran."""
    store = BINARIES["victoria-metrics"]
    return {
        "python": platform.python_version(),
        "java": _first_line("java", "-version"),
        "kafka": KAFKA_VERSION,
        store: _first_line(store, "-version"),
        **{name: version(name) for name in _PACKAGES},
    }


def made_at() -> dict[str, str]:
    """When, and of which code."""
    return {"date": datetime.now(UTC).isoformat(timespec="seconds"), "commit": commit_of_the_tree()}


def commit_of_the_tree() -> str:
    """Git's short name of the code, with a + when files differ from it; empty outside of a clone."""
    words = ["git", "describe", "--always", "--exclude", "*", "--dirty=+"]
    ran = subprocess.run(words, capture_output=True, text=True, check=False)
    return ran.stdout.strip()


def _first_line(program: str, argument: str) -> str:
    path = shutil.which(program)
    if path is None:
        return "not installed"
    ran = subprocess.run([path, argument], capture_output=True, text=True, timeout=30, check=False)
    return next(iter((ran.stdout + ran.stderr).strip().splitlines()), "says nothing")

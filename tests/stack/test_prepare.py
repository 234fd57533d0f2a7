"""`prepare`: Java takes its classes from the archive, and starts without them when the archive is not its own."""

import os
from pathlib import Path

import psutil
import pytest

from streaming.jars import class_archive
from tests.harness.processes import run_python

STARTED = """
import sys
from pathlib import Path
from streaming.settings import Settings
from tests.stack.test_prepare import maps_of_java
from streaming.spark import start_session
session = start_session(Settings(cache=Path(sys.argv[1])), Path(sys.argv[1], "log"))
assert session.range(3).count() == 3
print(".jsa-mapped" if sys.argv[2] in maps_of_java() else "started")
session.stop()
"""


def maps_of_java():
    """The files that the Java of this process has in its memory."""
    (java,) = (child for child in psutil.Process().children(recursive=True) if child.name() == "java")
    return Path("/proc", str(java.pid), "maps").read_text()


@pytest.fixture
def cache(jar_cache, tmp_path):
    """A cache of its own, with the jars that were fetched before."""
    fetched = jar_cache.expanduser() / "ivy"
    if fetched.is_dir():
        (tmp_path / "ivy").symlink_to(fetched)
    return tmp_path


def run(*words, cache):
    ran = run_python(*words, env={**os.environ, "RISK_CACHE": str(cache)})
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.mark.nightly
def test_java_starts_from_the_archive_and_without_it_when_it_is_cut_short(cache):
    assert class_archive(cache) is None
    said = run("-m", "streaming", "prepare", cache=cache).replace("\n", "")
    archive = class_archive(cache)
    assert archive.name in said
    assert [path for path in cache.iterdir() if path.name.startswith("preparing-")] == []
    assert run("-c", STARTED, str(cache), archive.name, cache=cache).strip() == ".jsa-mapped"
    written = archive.stat().st_mtime_ns
    run("-m", "streaming", "prepare", cache=cache)
    assert archive.stat().st_mtime_ns == written
    os.truncate(archive, 1 << 20)
    assert class_archive(cache) is None
    assert run("-c", STARTED, str(cache), archive.name, cache=cache).strip() == "started"

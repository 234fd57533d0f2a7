"""`prepare`: what a start of Spark needs is in the cache, and a second time there is nothing to do."""

import os

import pytest

from streaming.jars import CONNECTOR, fetched_jars
from tests.harness.processes import run_python


@pytest.fixture
def cache(jar_cache, tmp_path):
    """A cache of its own, with the jars that were fetched before, but no list of them."""
    fetched = jar_cache.expanduser() / "ivy"
    for name in ("cache", "jars"):
        if (fetched / name).is_dir():
            (tmp_path / "ivy").mkdir(exist_ok=True)
            (tmp_path / "ivy" / name).symlink_to(fetched / name)
    return tmp_path


@pytest.mark.nightly
def test_the_jars_are_fetched_once_and_then_no_spark_is_started(cache):
    def said():
        ran = run_python("-m", "incident_risk", "prepare", env={**os.environ, "RISK_CACHE": str(cache)})
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    assert fetched_jars(cache, [CONNECTOR]) == []
    first = said()
    assert first.endswith(f"{len(fetched_jars(cache, [CONNECTOR]))} jars in {cache}\n")
    (cache / "prepare.log").unlink()
    assert said() == first
    assert not (cache / "prepare.log").exists()

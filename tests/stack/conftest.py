import os
import shutil
from pathlib import Path

import pytest

from streaming.broker import Broker, start_broker
from streaming.settings import Settings


@pytest.fixture(scope="session")
def jar_cache() -> Path:
    """Where the broker's jars are, or go: the same place as for the commands, so that they are fetched once."""
    if shutil.which("java") is None:
        pytest.skip("the broker needs Java 17 (Debian: openjdk-17-jre-headless)")
    return Settings.from_environment({key: os.environ[key] for key in ("RISK_CACHE",) if key in os.environ}).cache


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory, jar_cache: Path) -> Broker:
    """A real Kafka broker for the whole run: make topics of your own on it."""
    with start_broker(tmp_path_factory.mktemp("broker"), cache=jar_cache, port=0) as broker:
        yield broker

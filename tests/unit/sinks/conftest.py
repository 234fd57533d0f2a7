from types import SimpleNamespace

import pytest

from tests.unit.sinks.test_influx_answers import sink_for


@pytest.fixture
def sink(stub_store):
    opened = sink_for(stub_store)
    yield opened
    opened.close()


@pytest.fixture
def waits(monkeypatch):
    """Seconds that would have been slept before each retry."""
    slept = []
    monkeypatch.setattr("tenacity.nap.time", SimpleNamespace(sleep=slept.append))  # other threads sleep as they do
    return slept

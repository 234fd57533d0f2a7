"""A real InfluxDB with an hour of scores and ledgers and sixty days of outcomes."""

import shutil
import time

import numpy as np
import pytest

from streaming.local_store import BINARIES, local_store
from tests.grafana.influx import Store
from tests.grafana.world import SPECS, outcome_lines, pipeline, score_lines

DAY_S = 86_400
MINUTES = 60


@pytest.fixture(scope="session")
def influxdb(tmp_path_factory):
    if shutil.which(BINARIES["influxdb"]) is None:
        pytest.skip("influxd is not installed: apt-get install influxdb")
    with local_store("influxdb", tmp_path_factory.mktemp("influxdb")) as url:
        yield Store(url=url)


@pytest.fixture(scope="session")
def now_s():
    """Half a minute into a tick: the newest one is stored."""
    return int(time.time()) // 60 * 60 + 30


@pytest.fixture(scope="session")
def filled(influxdb, now_s):
    """The store after an hour of minutes; messages of no region too."""
    draw = np.random.default_rng(6)
    tick_s = now_s - now_s % 60
    ticks = range(tick_s - 60 * (MINUTES - 1), tick_s + 1, 60)
    influxdb.write(b"".join(score_lines(SPECS.values(), ticks, draw)))
    regions = [*SPECS, "_unassigned"]
    ledgers = (pipeline(region, tick, i + 100) for i, tick in enumerate(ticks) for region in regions)
    influxdb.write(b"".join(ledgers))
    midnight_s = tick_s - tick_s % DAY_S
    hours = range(midnight_s - 60 * DAY_S, tick_s - 3600, 3600)
    influxdb.write(b"".join(outcome_lines(spec, hour, draw) for hour in hours for spec in SPECS.values()))
    return influxdb


@pytest.fixture(scope="session")
def filled_for_long(filled, now_s):
    """The bucket for long ranges beside it: a value an hour, as deploy/influxdb/risk_long.flux writes them."""
    long, draw = filled.another("risk_long"), np.random.default_rng(7)
    hours = range(now_s - now_s % DAY_S - 60 * DAY_S, now_s - 3600, 3600)
    long.write(b"".join(outcome_lines(spec, hour, draw) for hour in hours for spec in SPECS.values()))
    long.write(b"".join(score_lines(SPECS.values(), hours[-48:], draw)))
    return filled

"""A real InfluxDB as the product fills it: a month in one bucket, an extract of longer in another."""

import re
import time

import numpy as np
import pytest

from tests.harness.grafana_world import (
    CHALLENGER,
    SPECS,
    VARIABLES,
    feedback_lines,
    follower_lines,
    outcome_lines,
    pipeline,
    score_lines,
    shadow_lines,
)
from tests.harness.influxql import Store, shown, table
from tests.harness.pages import PAGES, ROOT

DAY_S = 86_400
MINUTES = 60
RAW_DAYS = 30  # as in compose.yaml


def panel_of(page, title):
    """The page's first panel whose title begins so."""
    return next(panel for panel in PAGES[page]["panels"] if panel["title"].startswith(title))


def rows_of(store, page, title, now_s, *, days=1, number=0, **changes):
    """The rows that one of a panel's queries gives, of so many days up to now. changes: of the page's variables."""
    query = panel_of(page, title)["targets"][number]["query"]
    return table(shown(store, query, from_s=now_s - days * DAY_S, to_s=now_s, variables=VARIABLES | changes))


@pytest.fixture
def store(influxdb, request):
    """An empty one for each test."""
    return influxdb.another(request.node.name.replace("[", "-").replace("]", ""))


@pytest.fixture(scope="session")
def now_s():
    """Half a minute into a tick: the newest one is stored."""
    return int(time.time()) // 60 * 60 + 30


@pytest.fixture(scope="session")
def filled(influxdb, now_s):
    """The store with an hour of minutes and a month of outcomes, and the bucket for long ranges with sixty days."""
    draw = np.random.default_rng(6)
    tick_s = now_s - now_s % 60
    ticks = range(tick_s - 60 * (MINUTES - 1), tick_s + 1, 60)
    influxdb.write(b"".join(score_lines(SPECS.values(), ticks, draw)))
    regions = [*SPECS, "_unassigned"]
    tried = {"northville": {"challenger": CHALLENGER}}
    ledgers = b"".join(
        pipeline(region, tick, i + 100, **tried.get(region, {})) for i, tick in enumerate(ticks) for region in regions
    )
    influxdb.write(ledgers)
    midnight_s = tick_s - tick_s % DAY_S
    newest = range(midnight_s - 8 * DAY_S, tick_s - 3600, 3600)
    older = range(midnight_s - 60 * DAY_S, newest[0], 6 * 3600)  # than a week: each sixth, of the page's region alone
    judged = {**dict.fromkeys(older, ("northville",)), **dict.fromkeys(newest, SPECS)}
    outcomes = {
        hour: b"".join(outcome_lines(SPECS[region], hour, draw) for region in names) for hour, names in judged.items()
    }
    influxdb.write(b"".join(lines for hour, lines in outcomes.items() if hour > tick_s - RAW_DAYS * DAY_S))
    judged_s = tick_s - tick_s % 3600 - 26 * 3600  # with late reports
    trial = shadow_lines(SPECS["northville"], judged_s, draw)
    influxdb.write(trial)
    influxdb.write(b"".join(feedback_lines(region, tick_s, draw) for region in SPECS))
    learned = follower_lines(SPECS["northville"], tick_s - tick_s % 3600, draw)
    influxdb.write(learned)
    long = influxdb.another("risk_long")
    long.write(b"".join(outcomes.values()) + trial + ledgers + learned)
    long.write(as_extracted(b"".join(score_lines(SPECS.values(), newest[-48:], draw))))
    return influxdb


@pytest.fixture(scope="session")
def filled_long(filled):
    return Store(url=filled.url, database="risk_long")


def as_extracted(lines):
    """What deploy/influxdb/risk_long.flux keeps of an hour's lines: four fields of `risk`, nothing of `top`."""
    task = (ROOT / "deploy" / "influxdb" / "risk_long.flux").read_text(encoding="utf-8")
    copied = task[task.index("\nhours()") :]  # before it stands where the copy begins
    fields_kept = set(re.findall(r'r\._field == "(\w+)"', copied))
    assert fields_kept == {"expected", "risk", "usual", "observed_1h"}
    extracted = []
    for line in lines.decode().splitlines():
        if line.startswith("risk,"):
            key, fields, time_s = line.split(" ")
            wanted = [field for field in fields.split(",") if field.partition("=")[0] in fields_kept]
            extracted.append(f"{key} {','.join(wanted)} {time_s}\n")
    return "".join(extracted).encode()

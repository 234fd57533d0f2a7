"""How long the pages' queries take on a real InfluxDB that holds a day of minutes, and outcomes of eight weeks.

Each panel asks for its page's usual range, a day at least; the map is a panel of the page that `cells` completes.

The store is Debian's InfluxDB 1.6: it answers the same InfluxQL as the product's 2.9, with the same storage engine,
but it is not the same program. Values repeat every FRAMES minutes, so they compress somewhat better than real ones.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.child import ChildError
from benchmarks.local_store import local_store
from benchmarks.machine import describe_machine, made_at
from benchmarks.plan import bench_spec
from models.all_categories import stored_views
from schemas.frame import SUPPORT, RiskFrame
from schemas.spec import Spec
from streaming.sinks.line_protocol import risk_lines, top_lines
from tests.harness.grafana_world import VARIABLES, constants_of, frame, outcome_lines, pipeline
from tests.harness.influxql import Store, filled_in
from tests.harness.pages import ALERTS, PAGES

FRAMES = 16
LINES_PER_REQUEST = 10_000  # as the product's sink
MAP_TARGET_MS, TARGET_MS = 200, 1000
POINTS = 1000  # of a line, about as many as a panel is wide: $__interval follows from it
DAY_S = 86_400
RAW_DAYS, LONG_DAYS = 30, 56  # of outcomes in the two buckets
_UNITS_S = {"h": 3600, "d": DAY_S, "w": 7 * DAY_S}


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Milliseconds of one query, the client's reading of the answer included. rows: of the answer, at least one."""

    name: str
    median_ms: float
    worst_ms: float
    rows: int
    target_ms: int


def measure_queries(folder: Path, *, minutes: int, side: int, repeat: int, console: Console) -> dict[str, Any]:
    """Fill a store in `folder` with `minutes` minutes of side x side cells, time every query `repeat` times.

    Raises ChildError for a query that is answered with nothing.
    """
    spec = bench_spec("town", side=side)
    tick_s = int(time.time()) // 60 * 60
    with local_store("influxdb", folder) as url:
        store = Store(url=url)
        started_s = time.monotonic()
        points = _fill(store, spec, tick_s, minutes, console)
        fill_s = time.monotonic() - started_s
        console.print(f"{points:,} points of `risk` in {fill_s:.0f} s", highlight=False)
        timings = [_timed(store, *query, repeat=repeat) for query in _queries(spec, tick_s + 30)]
    _print(timings, console, points)
    rows = [
        {
            "query": one.name,
            "median_ms": one.median_ms,
            "worst_ms": one.worst_ms,
            "rows": one.rows,
            "target_ms": one.target_ms,
        }
        for one in timings
    ]
    return {
        **made_at(),
        "machine": describe_machine(),
        "store": "InfluxDB 1.6",
        "points": points,
        "minutes": minutes,
        "cells": side**2,
        "fill_s": round(fill_s),
        "queries": rows,
    }


def _fill(store: Store, spec: Spec, tick_s: int, minutes: int, console: Console) -> int:
    draw = np.random.default_rng(1)
    marker = 1_000_000_000
    frames = [_with_history(frame(spec, marker, draw)) for _ in range(FRAMES)]
    views = [stored_views(one, constants_of(spec)) for one in frames]
    bodies = [b"".join(risk_lines(view) + top_lines(view, 10) for view in of_frame) for of_frame in views]
    stamp = f" {frames[0].tick_s}\n".encode()
    month = range(tick_s - RAW_DAYS * DAY_S, tick_s - 60 * (minutes - 1), 60)  # of the ledger, which pages look back on
    with console.status("the ledger of a month") as status:
        for start in range(0, len(month), LINES_PER_REQUEST):
            part = enumerate(month[start : start + LINES_PER_REQUEST], start=start + 1)
            store.write(b"".join(pipeline(spec.region, at_s, number) for number, at_s in part))
        for minute in range(minutes):
            at_s = tick_s - 60 * (minutes - 1 - minute)
            body = bodies[minute % FRAMES].replace(stamp, f" {at_s}\n".encode())
            body += pipeline(spec.region, at_s, len(month) + minute + 1)
            for request in _requests(body):
                store.write(request)
            status.update(f"minute {minute + 1} of {minutes}")
        status.update("outcomes of eight weeks")
        hours = range(tick_s // DAY_S * DAY_S - LONG_DAYS * DAY_S, tick_s - 3600, 3600)
        outcomes = [outcome_lines(spec, hour_s, draw) for hour_s in hours]
        store.write(b"".join(outcomes[-24 * RAW_DAYS :]))
        store.another("risk_long").write(b"".join(outcomes))
    return minutes * spec.series


def _with_history(scores: RiskFrame) -> RiskFrame:
    """Every cell has one: the map leaves out those that have none, and would be the quicker for it."""
    return replace(scores, support=np.full_like(scores.support, SUPPORT.index("ok")))


def _requests(body: bytes) -> Iterator[bytes]:
    lines = body.splitlines(keepends=True)
    for start in range(0, len(lines), LINES_PER_REQUEST):
        yield b"".join(lines[start : start + LINES_PER_REQUEST])


def _queries(spec: Spec, now_s: int) -> Iterator[tuple[str, str, int]]:
    """(name, InfluxQL, target in ms): each panel's, each variable's and each alert's."""
    chosen = {
        "region": spec.region,
        "category": spec.categories[0],
        "horizon": "4h",
        "cell": VARIABLES["cell"],  # one of the riskiest, so that the page says what made its score
        "colour": '"r"',
        "bucket": "risk",
        "frame": str(now_s),
    }
    for name, page in PAGES.items():
        several = {one["name"]: ".*" for one in page["templating"]["list"] if one.get("multi")}
        for variable in page["templating"]["list"]:
            if variable["type"] == "query":
                query = filled_in(variable["query"], from_s=0, to_s=now_s, variables=chosen)
                yield f"{name}: choices of {variable['label']}", query, TARGET_MS
        for panel in page["panels"]:
            for target in panel.get("targets", []):
                span_s = _span_s(panel.get("timeFrom", page["time"]["from"]))
                query = filled_in(
                    target["query"],
                    from_s=now_s - span_s,
                    to_s=now_s,
                    interval=f"{max(60, span_s // POINTS)}s",
                    variables=chosen | several,
                )
                is_map = panel["type"] == "geomap"
                what = f"{name}: {panel['title']}" + (f" ({target['refId']})" if len(panel["targets"]) > 1 else "")
                yield what, query, MAP_TARGET_MS if is_map else TARGET_MS
    for rule in ALERTS:
        asked = rule["data"][0]
        from_s = now_s - asked["relativeTimeRange"]["from"]
        yield f"alert: {rule['title']}", filled_in(asked["model"]["query"], from_s=from_s, to_s=now_s), TARGET_MS


def _span_s(text: str) -> int:
    """`now-30d` or `8w` in seconds, a day at least."""
    number, unit = text.removeprefix("now-")[:-1], text[-1]
    return max(DAY_S, int(number) * _UNITS_S[unit])


def _timed(store: Store, name: str, query: str, target_ms: int, *, repeat: int) -> Timing:
    taken_ms = []
    for _ in range(repeat):
        started_s = time.perf_counter()
        series = store.series(query)
        taken_ms.append(1000 * (time.perf_counter() - started_s))
    rows = sum(len(one["values"]) for one in series)
    if not rows:
        raise ChildError(f"{name}: the store answered with no row, so the time means nothing: {query}")
    return Timing(
        name=name,
        median_ms=round(median(taken_ms), 1),
        worst_ms=round(max(taken_ms), 1),
        rows=rows,
        target_ms=target_ms,
    )


def _print(timings: list[Timing], console: Console, points: int) -> None:
    table = Table(title=f"Queries over a day, {points:,} points of `risk`")
    for heading, side in (("query", "left"), ("median ms", "right"), ("worst ms", "right"), ("rows", "right")):
        table.add_column(heading, justify=side)  # type: ignore[arg-type]
    table.add_column("target ms", justify="right")
    for one in sorted(timings, key=lambda one: -one.median_ms):
        missed = " missed" if one.median_ms > one.target_ms else ""
        table.add_row(one.name, f"{one.median_ms}", f"{one.worst_ms}", f"{one.rows:,}", f"{one.target_ms}{missed}")
    console.print(table)

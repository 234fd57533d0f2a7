"""Rival: Pathway counts per cell and hour. Runs in an environment of its own, without our packages.

What makes it easier for the rival: lax decoding (fields that it needs, nothing refused), no de-duplication, no
corrections, no scores, no persistence, and nothing is written to a store.
"""

import json
import os
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pathway as pw

WINDOW = timedelta(hours=1)


class IncidentColumns(pw.Schema):
    region: str
    occurred_at: str
    category: str
    lat: float
    lon: float


def main(orders: dict[str, Any]) -> None:
    marks: list[tuple[int, float]] = []
    started_s = time.time()

    def seen(key: Any, row: dict[str, Any], time: int, is_addition: bool) -> None:
        if is_addition:
            mark(row["total"])

    def mark(total: int) -> None:
        marks.append((total, time.time()))
        if total == orders["events"]:
            Path(orders["result"]).write_text(json.dumps({"started_s": started_s, "marks": marks}), encoding="utf-8")
            os._exit(0)  # a stream has no end of its own

    events = pw.io.kafka.read(
        {
            "bootstrap.servers": orders["bootstrap"],
            "group.id": orders["group"],
            "auto.offset.reset": "earliest",
            "session.timeout.ms": "6000",
        },
        topic=orders["topic"],
        schema=IncidentColumns,
        format="json",
    )
    row = (pw.this.lat - orders["south_deg"]) // orders["row_deg"]
    col = (pw.this.lon - orders["west_deg"]) // orders["col_deg"]
    placed = events.select(
        at=pw.this.occurred_at.dt.strptime("%Y-%m-%dT%H:%M:%SZ"),
        place=pw.make_tuple(pw.this.region, pw.this.category, row, col),
    )
    counts = placed.windowby(placed.at, window=pw.temporal.tumbling(duration=WINDOW), instance=placed.place).reduce(
        place=pw.this._pw_instance, start=pw.this._pw_window_start, count=pw.reducers.count()
    )
    pw.io.subscribe(counts.reduce(total=pw.reducers.sum(pw.this.count)), seen)
    pw.run(monitoring_level=pw.MonitoringLevel.NONE)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))

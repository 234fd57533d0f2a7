"""The publish stage for one to many regions: how long the driver needs to write a minute's scores, and for what."""

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from benchmarks.child import ROOT, ChildError, run_child
from benchmarks.local_store import local_store
from benchmarks.machine import describe_machine, made_at
from benchmarks.plan import CATEGORIES, SIDE, bench_specs
from benchmarks.serve import asked
from models.artifact.untrained import write_untrained
from schemas.spec import DAY_S

StoreKind = Literal["taking", "victoria-metrics"]
_LIMIT_S = 600.0
_START_S = 30.0


def measure_publish(
    *, regions: Sequence[int], minutes: int, hours: bool, store: StoreKind, console: Console
) -> dict[str, Any]:
    """The median minute of each number of regions, every one in a process of its own; of hours, their first minute.

    Raises ChildError when the store has not taken every point.
    """
    runs = []
    machine = describe_machine()
    with tempfile.TemporaryDirectory(prefix="risk-publish-") as name:
        folder = Path(name)
        midnight_s = int(time.time()) // DAY_S * DAY_S
        specs = bench_specs(max(regions))
        for spec in specs:
            write_untrained(folder / "artifacts", spec, per_day=200, cutoff_s=midnight_s, created="20260101T000000Z")
        for count in regions:
            with running_store(store, folder / f"store-{count}") as url:
                orders = {"regions": count, "minutes": minutes, "hours": hours, "store": url}
                orders |= {"artifacts": str(folder / "artifacts")}
                found = run_child(
                    "benchmarks.publish_driver", orders, folder / str(count), python=sys.executable, limit_s=_LIMIT_S
                )
                if store == "taking" and taken(url) != (points := sum(one["points"] for one in found)):
                    raise ChildError(f"{points} points were written, and the store took {taken(url)}")
            runs.append({"regions": count, **typical(found[1:])})
            console.print(f"[dim]{count} regions: {runs[-1]['seconds']:.1f} s[/dim]", highlight=False)
    return {
        **made_at(),
        "machine": machine,
        "store": store,
        "hours": hours,
        "cells": SIDE * SIDE,
        "categories": len(CATEGORIES),
        "horizons": len(specs[0].horizons_s),
        "minutes": minutes,
        "runs": runs,
    }


def typical(minutes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Medians of the minutes; of memory the most that the process has needed. parts_s: CPU seconds."""
    seconds, points = median(one["seconds"] for one in minutes), int(median(one["points"] for one in minutes))
    return {
        "points": points,
        "seconds": round(seconds, 2),
        "points_per_s": round(points / seconds),
        "cpu_s": round(median(one["cpu_s"] for one in minutes), 2),
        "peak_mib": round(max(one["peak_mib"] for one in minutes)),
        "parts_s": {part: round(median(one["parts_s"][part] for one in minutes), 2) for part in minutes[-1]["parts_s"]},
    }


def print_publish(results: Mapping[str, Any], console: Console) -> None:
    load = results["machine"]["load_average_at_start"][0]
    table = Table(title=f"A minute's scores into {results['store']}, load average {load} at the start")
    parts = results["runs"][0]["parts_s"]
    for heading in ("regions", "points", "seconds", "points/s", "CPU s", "memory, MiB", *parts):
        table.add_column(heading, justify="right")
    for run in results["runs"]:
        figures = (f"{run['seconds']:.1f}", f"{run['points_per_s']:,}", f"{run['cpu_s']:.1f}", f"{run['peak_mib']:,}")
        of_parts = (f"{run['parts_s'][part]:.1f}" for part in parts)
        table.add_row(f"{run['regions']}", f"{run['points']:,}", *figures, *of_parts)
    console.print(table)


@contextmanager
def running_store(kind: StoreKind, folder: Path) -> Iterator[str]:
    if kind == "victoria-metrics":
        with local_store(kind, folder) as url:
            yield url
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.taking_store", str(port)], cwd=ROOT)
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + _START_S
        while True:
            try:
                taken(url)
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > until:
                    raise ChildError(f"the store does not answer at {url}") from None
                time.sleep(0.05)
        yield url
    finally:
        process.terminate()
        process.wait()


def taken(url: str) -> int:
    """Lines that the store has taken."""
    return int(asked(int(url.rpartition(":")[2]), "/")[2])

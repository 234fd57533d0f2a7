"""Requests a second for a whole region's scores, with and without ETag, beside files that the same server hands out."""

import http.client
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.child import ROOT, ChildError
from benchmarks.machine import describe_machine, made_at
from benchmarks.plan import bench_specs
from models.all_categories import over_categories
from models.dispersion import Dispersion
from schemas.frame import ATTRIBUTED_RANKS, ATTRIBUTION_GROUPS, RiskFrame
from schemas.left_behind.frame_file import write_frames
from schemas.spec import Spec

CONNECTIONS = 4
PORTS = {"service": 18_321, "files": 18_322}
_START_S = 60.0


@dataclass(frozen=True, slots=True)
class Kind:
    """What is asked of whom. known: with the ETag of the last answer, so that the answer is 304 without a body."""

    server: str
    known: bool

    @property
    def name(self) -> str:
        return f"{self.server}, {'304 by ETag' if self.known else 'whole answers'}"


KINDS = [Kind(server, known) for known in (False, True) for server in ("service", "files")]


def measure(*, rounds: int, seconds: float, console: Console) -> dict[str, Any]:
    """Every kind in turn, in each round. Raises ChildError for an answer that is not the expected one."""
    spec = bench_specs(1)[0]
    with tempfile.TemporaryDirectory() as name, ExitStack() as at_the_end:
        folder = Path(name)
        leave(folder, spec)
        path = {"service": f"/v1/regions/{spec.region}/scores", "files": "/scores.json"}
        serve = ("-m", "service", "serve", "--listen", f"127.0.0.1:{PORTS['service']}", "--rate", "1000000")
        at_the_end.enter_context(running(serve, PORTS["service"], RISK_FRAMES=name))
        (folder / "scores.json").write_bytes(asked(PORTS["service"], path["service"])[2])
        files = ("-m", "benchmarks.static_files", name, str(PORTS["files"]))
        at_the_end.enter_context(running(files, PORTS["files"]))
        machine, rows = describe_machine(), []
        for number in range(rounds):
            for kind in KINDS if number % 2 == 0 else KINDS[::-1]:
                leave(folder, spec)  # a frame is not older than a round, and the service has read it
                time.sleep(2)
                figures = load(PORTS[kind.server], path[kind.server], known=kind.known, seconds=seconds)
                rows.append({"round": number, "server": kind.server, "known": kind.known, **figures})
                console.print(f"[dim]round {number + 1}, {kind.name}: {figures['per_s']:,.0f}/s[/dim]", highlight=False)
        size = (folder / "scores.json").stat().st_size
    return {
        **made_at(),
        "machine": machine,
        "cells": spec.grid.cells,
        "bytes": size,
        "connections": CONNECTIONS,
        "seconds": seconds,
        "rounds": rows,
        "summary": summary(rows),
    }


def summary(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The median round of each kind, and the median of the rounds' ratios of the service to the files."""
    by = {(row["round"], row["server"], row["known"]): row for row in rows}
    numbers = sorted({row["round"] for row in rows})
    found = []
    for kind in KINDS:
        its = [by[number, kind.server, kind.known] for number in numbers]
        figures = {name: statistics.median(row[name] for row in its) for name in ("per_s", "p50_ms", "p99_ms")}
        ratios = [by[n, "service", kind.known]["per_s"] / by[n, "files", kind.known]["per_s"] for n in numbers]
        ratio = statistics.median(ratios) if kind.server == "service" else None
        found.append({"server": kind.server, "known": kind.known, **figures, "ratio": ratio})
    return found


def print_summary(results: Mapping[str, Any], console: Console) -> None:
    table = Table(title=f"{results['bytes']:,} bytes, {results['cells']:,} cells, {results['connections']} connections")
    for heading in ("asked", "requests/s", "p50 ms", "p99 ms", "of the files' rate"):
        table.add_column(heading, justify="right")
    for one in results["summary"]:
        kind = Kind(one["server"], one["known"])
        ratio = "" if one["ratio"] is None else f"{one['ratio']:.2f}"
        table.add_row(kind.name, f"{one['per_s']:,.0f}", f"{one['p50_ms']:.1f}", f"{one['p99_ms']:.1f}", ratio)
    console.print(table)


def load(port: int, path: str, *, known: bool, seconds: float) -> dict[str, float]:
    """What some connections get that ask again as soon as they are answered."""
    status, tag, _ = asked(port, path)
    if status != 200:
        raise ChildError(f"{path} on port {port} answers {status}")
    headers = {"If-None-Match": tag} if known else {}
    took: list[float] = []
    wrong: list[int] = []
    until = time.perf_counter() + seconds

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
        while (began := time.perf_counter()) < until:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            answer.read()
            took.append(time.perf_counter() - began)
            if answer.status != (304 if known else 200):
                wrong.append(answer.status)
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if wrong:
        raise ChildError(f"{path} on port {port} answered {wrong[0]}")
    p50, p99 = np.percentile(np.array(took) * 1000, [50, 99]).tolist()
    return {"per_s": len(took) / seconds, "p50_ms": p50, "p99_ms": p99}


def asked(port: int, path: str) -> tuple[int, str, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, answer.headers.get("ETag", ""), body


def leave(folder: Path, spec: Spec) -> None:
    """A frame of drawn numbers, for now."""
    rng = np.random.default_rng(7)
    shape = (spec.grid.cells, len(spec.categories), len(spec.horizons_s))
    expected = rng.gamma(0.3, 0.3, shape).astype(np.float32)
    frame = RiskFrame(
        spec=spec,
        as_of_s=int(time.time()),
        model="bench",
        expected=expected,
        risk=-np.expm1(-expected),
        low=np.zeros(shape, np.float32),
        high=np.ceil(expected * 3),
        usual=(expected * rng.uniform(0.5, 2, shape)).astype(np.float32),
        observed_1h=rng.poisson(0.1, shape[:2]).astype(np.int32),
        support=np.full(shape[:2], 2, np.uint8),
        attribution=np.ones((ATTRIBUTED_RANKS, *shape[1:], len(ATTRIBUTION_GROUPS)), np.float32),
    )
    views = (frame, over_categories(frame, Dispersion.quadratic(np.full(shape[1:], 3.0))))
    write_frames(folder, views, "wall")


@contextmanager
def running(words: Sequence[str], port: int, **environment: str) -> Iterator[None]:
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, *words], cwd=ROOT, env={**os.environ, **environment}, stdout=log, stderr=log
        )
        try:
            _wait_for(process, port)
            yield
        finally:
            process.terminate()
            process.wait()


def _wait_for(process: "subprocess.Popen[bytes]", port: int) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            asked(port, "/")
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise ChildError(f"nothing answers on port {port}")

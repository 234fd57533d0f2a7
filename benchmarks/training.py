"""How the cost of `models train` and `models evaluate` grows with the number of cells and with the file's years."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.child import ChildError
from benchmarks.machine import describe_machine, made_at
from benchmarks.plan import CATEGORIES, bench_spec

PER_CELL_AND_DAY = 0.3  # about that of Chicago's cells of a kilometre that have any incident
DAY_S = 86_400
LOOK_EVERY_S = 0.5
STEP = "4h"  # of `evaluate`: hours have four times the steps
_LAYOUT = "time=time,lat=lat,lon=lon,category=category,timezone=America/Chicago"
_END = np.datetime64("2025-01-01T00:00:00")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one command took."""

    command: str
    cells: int
    years: float
    incidents: int
    seconds: float
    peak_mib: int  # of all its processes together, shared pages once; the Java of the random forest is one of them


def measure_training(
    folder: Path, *, sides: Sequence[int], years: Sequence[float], commands: Sequence[str], console: Console
) -> dict[str, Any]:
    """Run each command on a file of every size, one after another. Raises ChildError when one fails."""
    costs = []
    for side in sides:
        for span in years:
            data = folder / f"incidents-{side}-{span:g}.csv"
            incidents = write_incidents(data, side=side, years=span, random=np.random.default_rng(side))
            for command in commands:
                cost = _cost(command, data, folder, side=side, years=span, incidents=incidents)
                console.print(f"[dim]{cost}[/dim]", highlight=False, soft_wrap=True)
                costs.append(cost)
            data.unlink()
    _print(costs, console)
    return {**made_at(), "machine": describe_machine(), "costs": [asdict(cost) for cost in costs]}


def write_incidents(path: Path, *, side: int, years: float, random: np.random.Generator) -> int:
    """A CSV of incidents of side x side cells of a kilometre, busy cells and quiet ones. Gives how many."""
    spec = bench_spec("town", side=side)
    rate = random.gamma(0.5, 2 * PER_CELL_AND_DAY, spec.grid.cells)
    days = int(365 * years)
    counts = random.poisson(rate[:, None], (spec.grid.cells, days))
    cell, day = (np.repeat(where, counts[counts > 0]) for where in np.nonzero(counts))
    at = _END - np.timedelta64(days, "D") + day.astype("timedelta64[D]") + _seconds(len(day), random)
    order = np.argsort(at)
    lat, lon = spec.grid.centres()
    kind = random.integers(0, len(CATEGORIES), len(day))
    with path.open("w", encoding="utf-8") as file:
        file.write("time,lat,lon,category\n")
        file.writelines(_rows(at[order], lat[cell[order]], lon[cell[order]], kind))
    return len(day)


def _seconds(count: int, random: np.random.Generator) -> Any:
    return random.integers(0, DAY_S, count).astype("timedelta64[s]")


def _rows(at: Any, lat: Any, lon: Any, kind: Any) -> Iterator[str]:
    for when, south, west, number in zip(at.astype(str), lat.tolist(), lon.tolist(), kind.tolist(), strict=True):
        yield f"{when},{south:.5f},{west:.5f},{CATEGORIES[number]}\n"


def _cost(command: str, data: Path, folder: Path, *, side: int, years: float, incidents: int) -> Cost:
    out = folder / f"{command}-{side}-{years:g}"
    task = data.with_suffix(".toml")
    task.write_text(f'[[regions]]\nregion = "town"\ndata = "{data.name}"\nlayout = "{_LAYOUT}"\n', encoding="utf-8")
    words = [sys.executable, "-m", "models", command, str(task), "--out", str(out)]
    words += [] if command == "train" else ["--step", STEP]
    log = out.with_suffix(".log")
    started_s = time.monotonic()
    with log.open("wb") as file:
        process = psutil.Popen(words, stdout=file, stderr=file)
        peak_bytes = 0
        while process.poll() is None:
            peak_bytes = max(peak_bytes, _memory_bytes(process))
            time.sleep(LOOK_EVERY_S)
    if process.returncode:
        raise ChildError(
            f"`models {command}` ended with {process.returncode}: {log.read_text(errors='replace')[-2000:]}"
        )
    return Cost(
        command=command,
        cells=side * side,
        years=years,
        incidents=incidents,
        seconds=round(time.monotonic() - started_s, 1),
        peak_mib=peak_bytes >> 20,
    )


def _memory_bytes(process: psutil.Process) -> int:
    total = 0
    with suppress(psutil.NoSuchProcess):
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                total += one.memory_full_info().pss
    return total


def _print(costs: Sequence[Cost], console: Console) -> None:
    table = Table(title="Cost of training and evaluation")
    for heading in ("command", "cells", "years", "incidents", "seconds", "peak MiB"):
        table.add_column(heading, justify="left" if heading == "command" else "right")
    for cost in costs:
        table.add_row(
            cost.command,
            f"{cost.cells:,}",
            f"{cost.years:g}",
            f"{cost.incidents:,}",
            f"{cost.seconds:,.0f}",
            f"{cost.peak_mib:,}",
        )
    console.print(table)

"""What a challenger costs beside an hour of ticks of one region: CPU time, one core, no Spark. See `shadow_job`."""

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch
from rich.console import Console

from benchmarks.full_frame import HISTORY_EVENTS, TICK_EVENTS, TOP_K, decoded, frame_of
from benchmarks.plan import bench_spec
from models.artifact.artifact import Artifact, read_artifact
from models.artifact.untrained import write_untrained
from models.counting.closed_horizons import ClosedHorizon
from models.counting.count_state import CountState
from models.features import FeatureEngine
from models.gate.judged_hour import judged_hour
from models.measures.outcomes import Forecast
from models.scoring import score
from schemas.spec import DAY_S, HOUR_S
from streaming.flow.outcomes import KeptForecasts
from streaming.sinks.line_protocol import risk_lines, top_lines

SIDE, ROUNDS = 48, 5


def measure_shadow() -> dict[str, Any]:
    """CPU milliseconds of an hour of ticks, and of what a challenger adds to it, median of ROUNDS."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        spec, start_s = bench_spec("shadow", SIDE), int(time.time()) // DAY_S * DAY_S
        folder = write_untrained(Path(name), spec, per_day=200.0, cutoff_s=start_s, created="20260101T000000Z")
        artifact = read_artifact(folder)
        rounds = [_hour(artifact, start_s + number * HOUR_S, Path(name)) for number in range(1, ROUNDS + 1)]
    hour, shadow = median(one[0] for one in rounds), median(one[1] for one in rounds)
    return {
        "cells": spec.grid.cells,
        "rounds": ROUNDS,
        "hour_of_ticks_ms": round(hour, 1),
        "challenger_ms": round(shadow, 1),
        "share": round(median(added / alone for alone, added in rounds), 4),
    }


def print_cost(found: Mapping[str, Any], console: Console) -> None:
    """What was measured of an hour, and of the whole job."""
    console.print(
        f"an hour of ticks of {found['cells']:,} cells: {found['hour_of_ticks_ms']:,} ms of CPU; "
        f"a challenger adds {found['challenger_ms']:,} ms, {found['share']:.1%}"
    )
    for name in ("throughput", "latency"):
        one = found["job"][name]
        console.print(
            f"{name}: {one['without']:,} {one['unit']} without challengers, {one['with']:,} with them; "
            f"median of the ratios {one['ratio']} ({one['spread'][0]} to {one['spread'][1]})"
        )


def _hour(artifact: Artifact, start_s: int, folder: Path) -> tuple[float, float]:
    """CPU milliseconds of an hour's frames, and of the challenger's one frame, its file and both judgements."""
    spec, network = artifact.spec, artifact.network()
    state, engine, beside = CountState(spec), *(FeatureEngine(spec, artifact.constants) for _ in range(2))
    state.apply(decoded(spec, HISTORY_EVENTS, seed=1, as_of_s=start_s), start_s)
    kept = KeptForecasts(folder / "forecasts")
    alone = added = 0.0
    for tick in range(60):
        as_of_s = start_s + tick * spec.tick_s
        incidents = decoded(spec, TICK_EVENTS, seed=tick, as_of_s=as_of_s)
        began = time.process_time()
        state.apply(incidents, as_of_s)
        features = engine.compute(state)
        frame = frame_of(
            spec, artifact.version, as_of_s, features, score(features.values, network, artifact.constants, spec)
        )
        risk_lines(frame)
        top_lines(frame, TOP_K)
        between = time.process_time()
        alone += between - began
        if tick == 0:
            scores = score(beside.compute(state).values, network, artifact.constants, spec)
            forecast = Forecast.of("beside", scores.expected, scores.usual, artifact.constants, of_network=True)
            kept.write(forecast, spec, as_of_s)
            for horizon in range(len(spec.horizons_s)):
                counts = state.window("hour", 1)
                closed = ClosedHorizon(horizon=horizon, tick_s=as_of_s, judged_s=as_of_s, observed=counts)
                judged_hour(forecast, kept.read(spec, as_of_s), closed, spec)
            added += time.process_time() - between
    return alone * 1000, added * 1000

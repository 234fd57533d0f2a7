"""Time of one full frame by number of cells: features, scores, line protocol and the write. No Spark, one core."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

import numpy as np
import torch

from benchmarks.plan import FRAME_SIDES, bench_spec
from benchmarks.stack import Stack
from benchmarks.synthetic import synthetic_events
from models.artifact.artifact import Artifact
from models.counting.count_state import CountState
from models.features import FeatureEngine, Features
from models.scoring import CellScores, score
from schemas.decode import Messages, decode_messages
from schemas.frame import RiskFrame
from schemas.incidents import Incidents
from schemas.spec import Spec
from streaming.flow.follow import Followed
from streaming.flow.rows import FIELDS
from streaming.flow.score import places_of
from streaming.roster.roster import load_artifact
from streaming.sinks.influx import InfluxSink
from streaming.sinks.line_protocol import risk_lines, top_lines, unusual_lines

HISTORY_EVENTS = 50_000
TICK_EVENTS = 60
TOP_K = 10


class Stopwatch:
    """Milliseconds by part."""

    def __init__(self) -> None:
        self.ms: dict[str, float] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.ms[name] = (time.perf_counter() - start) * 1000


def measure_full_frames(stack: Stack) -> dict[str, Any]:
    """Median milliseconds of a tick's full frame, by cells, with its parts."""
    torch.set_num_threads(1)  # as in the product's workers
    totals, parts = {}, {}
    for side in FRAME_SIDES:
        runs = _frames(stack, side)
        name = f"{side}x{side}"
        totals[name] = round(median(sum(run.values()) for run in runs), 1)
        parts[name] = {part: round(median(run[part] for run in runs), 1) for part in runs[0]}
    return {"full_frame_ms": totals, "full_frame_parts_ms": parts}


def incidents_of(spec: Spec, n: int, *, seed: int, as_of_s: int) -> Incidents:
    """`n` synthetic incidents of one region, decoded from messages as Kafka would have them."""
    messages = Messages(
        values=[value for _, value in synthetic_events([spec], n, seed=seed, as_of_s=as_of_s)],
        partition=np.zeros(n, np.int32),
        kafka_offset=np.arange(n),
        kafka_time_ms=np.full(n, as_of_s * 1000),
    )
    return decode_messages(messages, {spec.region: spec}).incidents[spec.region]


def frame_of(artifact: Artifact, as_of_s: int, features: Features, scores: CellScores) -> RiskFrame:
    tick_s = as_of_s - as_of_s % artifact.spec.tick_s
    return RiskFrame(
        spec=artifact.spec,
        as_of_s=as_of_s,
        model=artifact.version,
        unusual=places_of(artifact, features.recent, scores, tick_s, Followed()),
        observed_1h=features.observed_1h,
        support=features.support,
        **{name: getattr(scores, name) for name in FIELDS},
    )


def _frames(stack: Stack, side: int) -> list[dict[str, float]]:
    """The parts' times of each tick after the first, which fills caches."""
    spec = bench_spec(f"frame-{side}", side)
    artifact = load_artifact(str(next((stack.artifacts([spec]) / spec.region).iterdir())))
    network, engine = artifact.network(), FeatureEngine(spec, artifact.constants)
    state = CountState(spec)
    as_of_s = int(time.time()) // spec.tick_s * spec.tick_s
    state.apply(incidents_of(spec, HISTORY_EVENTS, seed=side, as_of_s=as_of_s), as_of_s)
    sink = InfluxSink(stack.settings(topic="none", specs=[spec], checkpoint="none"))
    runs = []
    for tick in range(1, stack.plan.frame_repeats + 2):
        as_of_s += spec.tick_s
        incidents = incidents_of(spec, TICK_EVENTS, seed=1000 * side + tick, as_of_s=as_of_s)
        watch = Stopwatch()
        with watch.part("count"):
            state.apply(incidents, as_of_s)
        with watch.part("features"):
            features = engine.compute(state)
        with watch.part("score"):
            scores = score(features.values, network, artifact.constants, spec)
        with watch.part("lines"):
            frame = frame_of(artifact, as_of_s, features, scores)
            lines = risk_lines(frame) + top_lines(frame, TOP_K) + unusual_lines(frame)
        with watch.part("write"):
            sink.write(lines)
        runs.append(watch.ms)
    sink.close()
    return runs[1:]

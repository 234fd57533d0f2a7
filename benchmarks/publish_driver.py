"""The driver's part of a minute, in a process of its own: `Publisher` and what `run` has watching it, without Spark."""

import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from benchmarks.plan import bench_specs
from models.counting.closed_horizons import last_grace_s
from schemas.frame import ATTRIBUTED_RANKS, ATTRIBUTION_GROUPS
from schemas.spec import DAY_S, HOUR_S, Spec
from streaming.flow import publish
from streaming.flow.outcomes import Outcomes
from streaming.flow.publish import Publisher
from streaming.flow.rows import FIELDS, ClosedCounts, Summary
from streaming.flow.shadow import Shadow
from streaming.rebuild.batch_log import BatchLog
from streaming.settings import Settings
from streaming.sinks.influx import InfluxSink
from streaming.watch.frame_watch import FrameWatch

DRAWS = 4  # regions take these in turn
FIRST_S = 7_260  # after midnight: no whole hour is among the next minutes
PARTS: dict[str, tuple[Any, str]] = {
    "sums": (publish, "stored_views"),
    "risk": (publish, "risk_lines"),
    "top": (publish, "top_lines"),
    "sending": (InfluxSink, "_post"),
    "files": (FrameWatch, "show"),
    "log": (BatchLog, "keep"),
    "outcomes": (Outcomes, "points"),
    "shadow": (Shadow, "points"),
    "kept": (Outcomes, "keep"),
}
TOP_K = 10
_COUNTS = {"consumed": 60, "counted": 60}


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    regions: int
    minutes: int  # that are measured, after a first one
    hours: bool  # in place of minutes those that begin an hour: forecasts are kept, and old ones judged
    store: str  # URL
    artifacts: str
    result: str


class Rows:
    """A batch as Spark gives it to the driver."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def toArrow(self) -> pa.Table:
        return self._table


class NoLetters:
    def write(self, refused: Mapping[str, object]) -> None:
        if refused:
            raise ValueError(f"{refused} were not refused")


def main(orders: Orders) -> None:
    folder, midnight_s = Path(orders.result).parent, int(time.time()) // DAY_S * DAY_S
    specs = bench_specs(orders.regions)
    artifacts = {spec.region: next((Path(orders.artifacts) / spec.region).iterdir()) for spec in specs}
    scores = [drawn_scores(specs[0], seed) for seed in range(DRAWS)]
    settings = Settings().with_options(influx_url=orders.store)
    runs: list[dict[str, Any]] = []
    with timed_parts() as parts_s, closing(InfluxSink(settings)) as sink, closing(BatchLog(folder, top_k=TOP_K)) as log:
        publisher = publisher_of(folder, sink, log)
        publisher.watchers = [*publisher.watchers, lambda published: runs[-1].update(points=published.points)]
        for minute in range(orders.minutes + 1):
            as_of_s = midnight_s + (HOUR_S * (2 + minute) if orders.hours else FIRST_S + 60 * minute)
            closed = closed_counts(specs[0], as_of_s) if orders.hours else ()
            rows = Rows(table_of(specs, artifacts, scores, as_of_s, closed))
            leave_offsets(folder, minute, as_of_s)
            runs.append({})
            runs[-1] |= measured(lambda: publisher(rows, minute), parts_s)  # noqa: B023 - called at once
    result = Path(orders.result)
    result.with_suffix(".part").write_bytes(msgspec.json.encode(runs))
    result.with_suffix(".part").replace(result)


def publisher_of(folder: Path, sink: InfluxSink, log: BatchLog) -> Publisher:
    outcomes = Outcomes(folder)
    (folder / "frames").mkdir()
    return Publisher(
        sink=sink,
        dead_letters=NoLetters(),  # type: ignore[arg-type]
        outcomes=outcomes,
        shadow=Shadow(checkpoint=folder, artifacts=folder, champion=outcomes.kept),
        top_k=TOP_K,
        watchers=[log.keep, FrameWatch(folder=folder / "frames", clock="wall").show],
    )


def measured(act: Callable[[], None], parts_s: dict[str, float]) -> dict[str, Any]:
    """Seconds, CPU seconds of this process and of its parts, and the most memory that it has needed so far."""
    parts_s.clear()
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    act()
    return {
        "seconds": time.perf_counter() - began_s,
        "cpu_s": time.process_time() - began_cpu_s,
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "parts_s": dict(parts_s),
    }


@contextmanager
def timed_parts() -> Iterator[dict[str, float]]:
    """CPU seconds of PARTS, added up over threads, as long as it lasts."""
    parts_s: dict[str, float] = {}

    def timed(part: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*values: Any, **named: Any) -> Any:
            began_s = time.thread_time()
            try:
                return real(*values, **named)
            finally:
                parts_s[part] = parts_s.get(part, 0.0) + time.thread_time() - began_s

        return call

    real = {part: getattr(*place) for part, place in PARTS.items()}
    for part, place in PARTS.items():
        setattr(*place, timed(part, real[part]))
    try:
        yield parts_s
    finally:
        for part, place in PARTS.items():
            setattr(*place, real[part])


def drawn_scores(spec: Spec, seed: int) -> dict[str, bytes]:
    """As a network gives them: most cells quiet, a few busy."""
    rng = np.random.default_rng(seed)
    shape = (spec.grid.cells, len(spec.categories), len(spec.horizons_s))
    expected = rng.gamma(0.3, 0.3, shape)
    arrays = {
        "expected": expected,
        "risk": -np.expm1(-expected),
        "low": np.zeros(shape),
        "high": np.ceil(expected * 3),
        "usual": expected * rng.uniform(0.5, 2, shape),
        "attribution": rng.uniform(0.5, 2, (ATTRIBUTED_RANKS, *shape[1:], len(ATTRIBUTION_GROUPS))),
        "observed_1h": rng.poisson(0.1, shape[:2]),
    }
    types = dict.fromkeys(FIELDS, "<f4") | {"observed_1h": "<i4"}
    return {name: arrays[name].astype(kind).tobytes() for name, kind in types.items()}


def table_of(
    specs: list[Spec],
    artifacts: Mapping[str, Path],
    scores: list[dict[str, bytes]],
    as_of_s: int,
    closed: tuple[ClosedCounts, ...],
) -> pa.Table:
    """A batch in which each region has new scores, and the same horizons have closed."""
    rows = []
    for number, spec in enumerate(specs):
        its = scores[(number + as_of_s // 60) % DRAWS]
        summary = Summary(
            as_of_s=as_of_s,
            ledger=_COUNTS,
            totals=_COUNTS,
            newest_event_s=as_of_s - 20,
            newest_received_ms=1000 * (as_of_s - 10),
            observed_1h=its["observed_1h"],
            closed=closed,
            support=bytes([2]) * (spec.grid.cells * len(spec.categories)),
        )
        rows.append(
            {
                "region": spec.region,
                "artifact": str(artifacts[spec.region]),
                "summary": msgspec.msgpack.encode(summary),
                "scores": {"model": artifacts[spec.region].name, **{name: its[name] for name in FIELDS}},
            }
        )
    return pa.Table.from_pylist(rows)


def closed_counts(spec: Spec, as_of_s: int) -> tuple[ClosedCounts, ...]:
    """As on every hour: each horizon, for the first and for the last time. All are of the hour before."""
    rng = np.random.default_rng(as_of_s)
    return tuple(
        ClosedCounts(
            horizon=horizon,
            tick_s=as_of_s - HOUR_S,
            judged_s=as_of_s - HOUR_S + long_s + grace_s,
            observed=rng.poisson(0.1, (spec.grid.cells, len(spec.categories))).astype("<i4").tobytes(),
        )
        for horizon, long_s in enumerate(spec.horizons_s)
        for grace_s in (0, last_grace_s(spec))
    )


def leave_offsets(checkpoint: Path, batch: int, at_s: int) -> None:
    """What Spark writes before a batch: the log of batches reads it."""
    folder = checkpoint / "spark" / "offsets"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / str(batch)).write_text(
        f'v1\n{{"batchTimestampMs":{1000 * at_s}}}\n{{"incidents.v1":{{"0":{batch + 1}}}}}\n'
    )


if __name__ == "__main__":
    main(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Orders))

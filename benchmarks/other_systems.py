"""The product's functions without Spark: one full frame by number of cells, and rivals on the same broker and messages.

`rivals ORDERS.json` is the plain loop: what someone writes in an afternoon. One process, one loop, the product's own
functions, no fault tolerance: confluent-kafka -> decode_messages -> CountState -> features -> torch -> line protocol ->
InfluxSink. It stores no state and no offsets: killed, it has lost its counts and does not know what it had read. That
is the difference. Pathway runs in an environment of its own.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import torch

from benchmarks.stack import ROOT, ChildError, Stack, run_child
from benchmarks.traffic import SIDE, bench_spec, synthetic_events
from models.artifact import Artifact
from models.counting.count_state import CountState
from models.features import FeatureEngine
from models.network import RiskNetwork
from models.scoring import score, stored_views
from models.unusual import RegionScan
from schemas.decode import Messages, decode_messages
from schemas.frame import RiskFrame
from schemas.incidents import Incidents
from schemas.spec import Spec
from streaming.artifacts_in_force import load_artifact
from streaming.flow.publish import StoredView
from streaming.flow.rows import FIELDS
from streaming.settings import Settings
from streaming.sinks.influx import InfluxSink
from streaming.sinks.line_protocol import risk_lines, top_lines, unusual_lines

if TYPE_CHECKING:  # of the extra `bench`
    from confluent_kafka import Message

FRAME_SIDES = (SIDE // 2, SIDE, 2 * SIDE)
HISTORY_EVENTS = 50_000
TICK_EVENTS = 60
TOP_K = 10
RIVALS = {"plain_loop": "the plain loop", "pathway": "Pathway"}
_PATHWAY = "pathway==0.33.0"  # in an environment of its own: its pins contradict ours
_LIMIT_S = 300.0
_WAIT_S = 10.0
_MOST_AT_ONCE = 1_000_000  # the client takes no more in one call

Mark = tuple[int, float]  # events done so far, epoch seconds


def measure_full_frames(stack: Stack) -> dict[str, float]:
    """Median milliseconds of a tick's full frame, on one core, by cells, without the first tick, which fills caches."""
    torch.set_num_threads(1)  # as in the product's workers
    medians = {}
    for side in FRAME_SIDES:
        spec = bench_spec(f"frame-{side}", side)
        region = ScoredRegion.of(next((stack.artifacts([spec]) / spec.region).iterdir()))
        region.state, as_of_s = CountState(spec), int(time.time()) // spec.tick_s * spec.tick_s
        region.state.apply(incidents_of(spec, HISTORY_EVENTS, seed=side, as_of_s=as_of_s), as_of_s)
        sink, took_ms = InfluxSink(stack.settings(topic="none", specs=[spec], checkpoint="none")), list[float]()
        for tick in range(1, stack.plan.frame_repeats + 2):
            as_of_s += spec.tick_s
            incidents = incidents_of(spec, TICK_EVENTS, seed=1000 * side + tick, as_of_s=as_of_s)
            began_s = time.perf_counter()
            region.state.apply(incidents, as_of_s)
            frame = region.frame()
            sink.write(risk_lines(frame) + top_lines(frame, TOP_K) + unusual_lines(frame))
            took_ms.append((time.perf_counter() - began_s) * 1000)
        sink.close()
        medians[f"{side}x{side}"] = round(median(took_ms[1:]), 1)
    return medians


def incidents_of(spec: Spec, n: int, *, seed: int, as_of_s: int) -> Incidents:
    """`n` synthetic incidents of one region, decoded from messages as Kafka would have them."""
    messages = Messages.of(
        [value for _, value in synthetic_events([spec], n, seed=seed, as_of_s=as_of_s)],
        partition=np.zeros(n, np.int32),
        kafka_offset=np.arange(n),
        kafka_time_ms=np.full(n, as_of_s * 1000),
    )
    return decode_messages(messages, {spec.region: spec}).incidents[spec.region]


# Rates, the same way for the product and every rival


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Events per second."""

    steady_eps: float  # from the first mark at or after `warm_up_events` to the last mark
    total_eps: float  # from the first read to the last mark
    events: int
    warm_up_events: int
    seconds: float


def rate_of(marks: Sequence[Mark], *, started_s: float, warm_up_events: int) -> Rate:
    """Rates of one run. Raises ValueError when nothing was done after the warm-up."""
    last_events, last_s = marks[-1]
    first_events, first_s = next(mark for mark in marks if mark[0] >= min(warm_up_events, last_events))
    if first_s >= last_s:
        raise ValueError(f"all {last_events} events were done in the warm-up: load more of them")
    return Rate(
        steady_eps=(last_events - first_events) / (last_s - first_s),
        total_eps=last_events / (last_s - started_s),
        events=last_events,
        warm_up_events=first_events,
        seconds=last_s - started_s,
    )


def measure_rival(rival: str, stack: Stack, name: str, *, topic: str, specs: Sequence[Spec]) -> Rate | str:
    """The rate of a rival of RIVALS on the pre-loaded topic, or why there is none; its first batch is the warm-up."""
    folder, events = stack.folder / name, stack.plan.events
    try:
        if rival == "plain_loop":
            settings = stack.settings(topic=topic, specs=specs, checkpoint="none")
            orders = {"settings": settings.model_dump(mode="json", exclude={"influx_token"}), "events": events}
            ran = run_child("benchmarks.other_systems", orders, folder, python=sys.executable, limit_s=_LIMIT_S)
            warm_up_events = settings.max_events_per_batch
        else:
            lat, lon = specs[0].grid.corners()
            orders = {
                "bootstrap": stack.bootstrap,
                "topic": topic,
                "group": name,
                "events": events,
                "south_deg": float(lat[0]),
                "west_deg": float(lon[0]),
                "row_deg": float(lat[1] - lat[0]),
                "col_deg": float(lon[1] - lon[0]),
            }
            threads = {"PATHWAY_THREADS": str(len(os.sched_getaffinity(0)))}  # as many as there are cores
            python = _python_of_pathway()
            ran = run_child("benchmarks.pathway", orders, folder, python=python, limit_s=_LIMIT_S, environment=threads)
            warm_up_events = events // 6
        marks = [(int(done), float(at_s)) for done, at_s in ran["marks"]]
        return rate_of(marks, started_s=ran["started_s"], warm_up_events=warm_up_events)
    except (ChildError, OSError, subprocess.SubprocessError, ValueError) as error:
        return " ".join(str(error).split())[-600:]


def _python_of_pathway() -> str:
    """The interpreter of `.venv-bench`, which is made when it is missing."""
    uv = str(Path(sys.executable).with_name("uv"))
    for words in (["venv", "--allow-existing", ".venv-bench"], ["pip", "install", "-p", ".venv-bench", _PATHWAY]):
        ran = subprocess.run([uv, *words], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
        if ran.returncode != 0:
            raise ChildError(f"uv {' '.join(words)}: {ran.stderr.strip()[-400:]}")
    return str(ROOT / ".venv-bench" / "bin" / "python")


def compared(name: str, ours: Sequence[Rate], theirs: Sequence[Rate | str]) -> dict[str, Any]:
    """A rival's figures: the median over the rounds of product / rival, each round's own pair, and their spread.

    The reason why a round has no rate is kept.
    """
    pairs = [(our, their) for our, their in zip(ours, theirs, strict=True) if isinstance(their, Rate)]
    ratios = sorted(our.steady_eps / rate.steady_eps for our, rate in pairs)
    return {
        f"ratio_to_{name}": round(median(ratios), 3) if ratios else None,
        f"ratio_to_{name}_spread": [round(ratios[0], 3), round(ratios[-1], 3)] if ratios else None,
        f"ratio_to_{name}_reason": next((their for their in theirs if isinstance(their, str)), None),
        f"{name}_eps": round(median(rate.steady_eps for _, rate in pairs)) if pairs else None,
    }


# The plain loop


class LoopOrders(msgspec.Struct, frozen=True, kw_only=True):
    settings: dict[str, Any]
    events: int
    result: str


@dataclass(slots=True)
class ScoredRegion:
    """One region's live state, without Spark."""

    artifact: Artifact
    state: CountState
    network: RiskNetwork | None
    engine: FeatureEngine
    scan: RegionScan
    stored: tuple[StoredView, ...] = ()

    @classmethod
    def of(cls, folder: Path) -> "ScoredRegion":
        artifact = load_artifact(str(folder))
        spec, constants = artifact.spec, artifact.constants
        engine, scan = FeatureEngine(spec, constants), RegionScan(spec, constants)
        return cls(artifact, artifact.history(), artifact.network(), engine, scan)

    def frame(self) -> RiskFrame:
        spec, as_of_s, features = self.artifact.spec, self.state.as_of_s, self.engine.compute(self.state)
        scores = score(features.values, self.network, self.artifact.constants, spec)
        return RiskFrame(
            spec=spec,
            as_of_s=as_of_s,
            model=self.artifact.version,
            unusual=self.scan.places(features.recent, scores.usual[:, :, 0], as_of_s - as_of_s % spec.tick_s),
            observed_1h=features.observed_1h,
            support=features.support,
            **{name: getattr(scores, name) for name in FIELDS},
        )

    def lines(self) -> bytes:
        """The points that what was counted since the last call has changed."""
        frame = self.frame()
        views = stored_views(frame, self.artifact.constants)
        before = self.stored or map(StoredView, views)
        steps = (old.then(view) for old, view in zip(before, views, strict=True))
        points, self.stored = zip(*steps, strict=True)
        return b"".join([*points, *(top_lines(view, TOP_K) for view in views), unusual_lines(frame)])


def slices(settings: Settings, events: int) -> Iterator[list["Message"]]:
    """`events` messages from the beginning of the topic, at most the product's batch size at a time."""
    from confluent_kafka import Consumer, KafkaException, TopicPartition

    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka_bootstrap,
            "group.id": "plain-loop",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 10,
        }
    )
    partitions = consumer.list_topics(settings.topic).topics[settings.topic].partitions
    consumer.assign([TopicPartition(settings.topic, number, 0) for number in partitions])
    left = events
    while left:
        wanted = min(left, settings.max_events_per_batch)
        messages: list[Message] = []
        while len(messages) < wanted:
            part = consumer.consume(min(wanted - len(messages), _MOST_AT_ONCE), timeout=_WAIT_S)
            if not part:
                raise TimeoutError(f"{left - len(messages)} of {events} events did not come within {_WAIT_S} s")
            messages += part
        for message in messages:
            if message.error():
                raise KafkaException(message.error())
        left -= len(messages)
        yield messages
    consumer.close()


def main(orders: LoopOrders) -> None:
    settings = Settings(**orders.settings)
    regions = {folder.parent.name: ScoredRegion.of(folder) for folder in sorted(settings.artifacts.glob("*/*"))}
    specs = {name: region.artifact.spec for name, region in regions.items()}
    sink = InfluxSink(settings)
    done = counted = 0
    marks: list[Mark] = []
    started_s = time.time()
    for messages in slices(settings, orders.events):
        decoded = decode_messages(
            Messages.of(
                [message.value() for message in messages],
                partition=np.array([message.partition() for message in messages]),
                kafka_offset=np.array([message.offset() for message in messages]),
                kafka_time_ms=np.array([message.timestamp()[1] for message in messages]),
            ),
            specs,
        )
        as_of_s, parts = int(time.time()), []
        for name, incidents in decoded.incidents.items():
            counted += regions[name].state.apply(incidents, as_of_s).outcomes["counted"]
            parts.append(regions[name].lines())
        sink.write(b"".join(parts))
        done += len(messages)
        marks.append((done, time.time()))
    sink.close()
    if counted != orders.events:
        sys.exit(f"invalid run: {orders.events} events were loaded, {counted} counted")
    result = Path(orders.result)
    result.with_suffix(".part").write_bytes(msgspec.json.encode({"started_s": started_s, "marks": marks}))
    result.with_suffix(".part").replace(result)


if __name__ == "__main__":
    main(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=LoopOrders))

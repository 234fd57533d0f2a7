"""Stage 4, on the driver: scored rows -> dead letters, points in the store, the map page. One action per batch.

Everything is written before the batch is committed; a failure raises, Spark repeats the batch, and the points of
the repeat overwrite those of the first try.
"""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from pyspark.sql import DataFrame

from schemas.errors import RiskError
from schemas.event import REASONS
from schemas.frame import ATTRIBUTION_GROUPS, RiskFrame
from schemas.incidents import unpack_rejections
from streaming.flow.count import Summary
from streaming.flow.ledger import UNASSIGNED, tick_of
from streaming.flow.outcomes import Outcomes
from streaming.flow.query_facts import QueryFacts
from streaming.flow.score import FIELDS
from streaming.roster.roster import load_artifact
from streaming.sinks.contract import Sink, WriteReport
from streaming.sinks.line_protocol import changed, pipeline_lines, risk_lines, top_lines
from streaming.topics.dead_letters import DeadLetters

log = logging.getLogger(__name__)
ASK_EVERY_S = 30.0  # while there is nothing to write; half of what health allows
# Fields of a `pipeline` point that a repeated batch, or a rebuild, may give otherwise.
OF_THE_MACHINE = (
    "lag_events",
    "batch_s",
    "freshness_s",
    "state_bytes",
    "write_retries",
    "write_dropped",
    "unaccounted",
    "started_s",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What one batch brought, for whoever watches the job."""

    batch_id: int
    frames: Mapping[str, RiskFrame]  # regions whose scores were renewed
    summaries: Mapping[str, Summary]
    artifacts: Mapping[str, str]  # by region, the version in force
    points: int
    retries: int  # of its write
    dropped: int  # points that the store will never take
    seconds: float  # from the start of the batch's action to the acknowledgement of its last write
    done_s: float
    acknowledged_s: float  # when the store last took points, or said that it would
    facts: QueryFacts
    unaccounted: int  # messages by Kafka's offsets less those in the ledger, since the start


@dataclass(slots=True)
class Publisher:
    """The callback of `foreachBatch`."""

    sink: Sink
    dead_letters: DeadLetters
    outcomes: Outcomes
    top_k: int
    now_s: Callable[[], float] = time.time
    watchers: list[Callable[[Published], None]] = field(default_factory=list)
    facts: Callable[[], QueryFacts] = QueryFacts
    unaccounted: Callable[[int, int], int] = lambda number, consumed: 0  # of a batch's number and its messages
    failure: RiskError | None = None
    batches: int = 0  # that were published
    _stored: dict[str, RiskFrame] = field(default_factory=dict)
    _last_batch_s: float = 0.0
    _started_s: float = 0.0
    _acknowledged_s: float = 0.0
    _retries: int = 0
    _dropped: int = 0

    def __post_init__(self) -> None:
        self._started_s = self._acknowledged_s = self.now_s()  # the store is asked at the start, too

    def __call__(self, batch: DataFrame, batch_id: int) -> None:
        try:
            published = self._publish(batch, batch_id)
            self.batches += 1
            for watcher in self.watchers:
                watcher(published)
        except RiskError as error:
            self.failure = error  # the class is lost on the way through the JVM
            raise

    def _publish(self, batch: DataFrame, batch_id: int) -> Published:
        started = time.monotonic()
        rows = batch.toArrow().to_pylist()
        summaries = {row["region"]: msgspec.msgpack.decode(row["summary"], type=Summary) for row in rows}
        self.dead_letters.write(
            {region: unpack_rejections(s.rejections) for region, s in summaries.items() if s.rejections}
        )
        frames = {row["region"]: frame_of(row, summaries[row["region"]]) for row in rows if row["scores"]["model"]}
        facts = self.facts()
        unaccounted = self.unaccounted(batch_id, sum(s.ledger["consumed"] for s in summaries.values()))
        parts: list[bytes] = []
        for region, frame in sorted(frames.items()):
            parts.append(risk_lines(frame, changed(frame, self._stored.get(region))))
            parts.append(top_lines(frame, self.top_k))
        artifacts = {row["region"]: row["artifact"] for row in rows if row["artifact"]}
        for region, summary in sorted(summaries.items()):
            if summary.closed:
                parts.append(self.outcomes.points(load_artifact(artifacts[region]).spec, summary.closed))
        for region, summary in sorted(summaries.items()):
            if has_news(region, summary, frames):
                made_by = artifacts.get(region)
                parts.append(self._pipeline_line(region, summary, made_by, frames.get(region), facts, unaccounted))
        report = self._write(b"".join(parts))
        for region, frame in frames.items():  # forgets, too: after what had to be judged is in the store
            self.outcomes.keep(frame, artifacts[region])
        self._stored |= frames
        self._retries, self._dropped = self._retries + report.retries, self._dropped + report.dropped
        self._last_batch_s = time.monotonic() - started
        return Published(
            batch_id=batch_id,
            frames=frames,
            summaries=summaries,
            artifacts={region: Path(folder).name for region, folder in artifacts.items()},
            points=report.lines,
            retries=report.retries,
            dropped=report.dropped,
            seconds=self._last_batch_s,
            done_s=self.now_s(),
            acknowledged_s=self._acknowledged_s,
            facts=facts,
            unaccounted=unaccounted,
        )

    def _write(self, lines: bytes) -> WriteReport:
        """Without points the store is asked from time to time: silence must not look like a store that is well."""
        if not lines and abs(self.now_s() - self._acknowledged_s) < ASK_EVERY_S:
            return WriteReport(lines=0, bytes=0)
        report = self.sink.write(lines)
        self._acknowledged_s = self.now_s()
        return report

    def _pipeline_line(
        self,
        region: str,
        summary: Summary,
        artifact: str | None,
        frame: RiskFrame | None,
        facts: QueryFacts,
        unaccounted: int,
    ) -> bytes:
        of_the_machine: dict[str, float] = {}
        if region != UNASSIGNED or summary.ledger["consumed"]:  # else it stays as it is until the minute's end
            of_the_machine = self._of_the_machine(facts, unaccounted)
        if summary.newest_received_ms:
            of_the_machine["freshness_s"] = max(0.0, self.now_s() - summary.newest_received_ms / 1000)
        known = load_artifact(artifact).manifest if artifact else None
        return ledger_line(
            region,
            tick_of(summary.as_of_s, known.spec if known else None),
            as_of_s=summary.as_of_s,
            totals=summary.totals,
            heard_s=summary.newest_event_s or (known.data.cutoff_s if known else 0),
            model=frame.model if frame else None,
            of_the_machine=of_the_machine,
        )

    def _of_the_machine(self, facts: QueryFacts, unaccounted: int) -> dict[str, float]:
        return {
            "lag_events": facts.lag_events,
            "batch_s": self._last_batch_s,
            "state_bytes": facts.state_bytes,
            "write_retries": self._retries,
            "write_dropped": self._dropped,
            "unaccounted": unaccounted,
            "started_s": self._started_s,
        }


def has_news(region: str, summary: Summary, frames: Mapping[str, RiskFrame]) -> bool:
    """Whether a batch brought messages or a tick. Of no region there is a summary only where it did."""
    return summary.ledger["consumed"] > 0 or region in frames or region == UNASSIGNED


def ledger_line(
    region: str,
    tick_s: int,
    *,
    as_of_s: int,
    totals: Mapping[str, int],
    heard_s: int,
    model: str | None,
    of_the_machine: Mapping[str, float],
) -> bytes:
    """The `pipeline` point of a region's batch.

    heard_s: the newest counted incident, before the first one the end of the artifact's history, so that a feed that
    never connected is silent too; 0 for messages of no region. model: what made the scores that it renewed, if it did.
    """
    none = dict.fromkeys((f"rejected_{reason}" for reason in REASONS), 0)  # else the first of a reason shows as no step
    fields: dict[str, float | int | str] = {**none, **totals, "as_of": as_of_s, **of_the_machine}
    if heard_s:
        fields["silent_s"] = max(0, as_of_s - heard_s)
    if model:
        fields["model"] = model
    return pipeline_lines(region or "_unassigned", tick_s, fields)


def frame_of(row: Mapping[str, Any], summary: Summary) -> RiskFrame:
    """The frame that a scored row holds."""
    spec = load_artifact(row["artifact"]).spec
    places = (spec.grid.cells, len(spec.categories))
    shapes = dict.fromkeys(FIELDS, (*places, len(spec.horizons_s))) | {
        "attribution": (-1, len(spec.categories), len(spec.horizons_s), len(ATTRIBUTION_GROUPS))
    }
    scores = row["scores"]
    return RiskFrame(
        spec=spec,
        as_of_s=summary.as_of_s,
        model=scores["model"],
        observed_1h=np.frombuffer(summary.observed_1h, "<i4").reshape(places),
        support=np.frombuffer(summary.support, "u1").reshape(places),
        **{name: np.frombuffer(scores[name], "<f4").reshape(shapes[name]) for name in FIELDS},
    )

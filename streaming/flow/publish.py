"""Stage 4, on the driver: scored rows -> dead letters, points in the store. One action per batch.

Everything is written before the batch is committed; a failure raises, Spark repeats the batch, and the points of
the repeat overwrite those of the first try.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import torch

from models.all_categories import stored_views
from schemas.errors import RiskError, SinkUnavailable
from schemas.frame import ATTRIBUTION_GROUPS, RiskFrame, Surge, Unusual
from schemas.incidents import unpack_rejections
from schemas.left_behind.follower_states import FollowedChange
from schemas.left_behind.withheld import Withheld
from streaming.flow.ledger import UNASSIGNED, tick_of
from streaming.flow.outcomes import LeftForTrial, Outcomes
from streaming.flow.pipeline_point import NO_CHALLENGER, PipelinePoint
from streaming.flow.query_facts import QueryFacts
from streaming.flow.rows import FIELDS, Published, ScoredRow, Summary, has_news
from streaming.flow.stored_scores import StoredView
from streaming.roster.roster import load_artifact
from streaming.sinks.line_protocol import top_lines, unusual_lines
from streaming.sinks.sink import NOTHING, MakeLines, Sink, WriteReport
from streaming.topics.dead_letters import DeadLetters

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

log = logging.getLogger(__name__)
_NONE = msgspec.msgpack.encode(())
ASK_EVERY_S = 30.0  # while there is nothing to write; half of what health allows


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """The rows of a batch, by region."""

    summaries: Mapping[str, Summary]
    frames: Mapping[str, RiskFrame]  # regions with new scores
    views: dict[str, tuple[RiskFrame, RiskFrame]]  # of each frame, as they are published: filled while they are written
    stored: dict[str, tuple[StoredView, ...]]  # and what the store has of a region's views then
    folders: Mapping[str, str]  # of the artifacts in force
    champions: Mapping[str, ScoredRow]  # of regions with new scores
    challengers: Sequence[ScoredRow]  # their forecasts
    is_withheld: bool  # nobody may see the scores: there are no frames, and only the ledger is written

    @classmethod
    def of(cls, rows: Sequence[ScoredRow], *, is_withheld: bool) -> "_Batch":
        summaries = {row.region: row.summary for row in rows if row.summary is not None}
        of_champions = [row for row in rows if row.summary is not None]
        scored = {row.region: row for row in of_champions if row.scores.model}
        shown = {} if is_withheld else scored
        return cls(
            summaries=dict(sorted(summaries.items())),
            frames={region: frame_of(row, summaries[region]) for region, row in shown.items()},
            views={},
            stored={},
            folders={row.region: row.artifact for row in of_champions if row.artifact},
            champions=scored,
            challengers=[row for row in rows if row.summary is None],
            is_withheld=is_withheld,
        )

    @property
    def consumed(self) -> int:
        return sum(summary.ledger["consumed"] for summary in self.summaries.values())


@dataclass(slots=True, kw_only=True)
class Publisher:
    """The callback of `foreachBatch`."""

    sink: Sink
    dead_letters: DeadLetters
    outcomes: Outcomes
    left: LeftForTrial
    top_k: int
    watchers: Sequence[Callable[[Published], None]]
    facts: Callable[[], QueryFacts] = QueryFacts
    challenger: Callable[[str], str | None] = lambda region: None  # the version that is tried in a region
    change_of: Callable[[RiskFrame], FollowedChange | None] = lambda frame: None  # that the forecast follows
    unaccounted: Callable[[int, int], int] = lambda number, consumed: 0  # of a batch's number and its messages
    withheld: Callable[[], Withheld | None] = lambda: None
    watched_until_s: Callable[[], int | None] = lambda: None  # of what runs beside the job
    left_views: Callable[[str], tuple[StoredView, StoredView] | None] = lambda region: None  # of a job before
    now_s: Callable[[], float] = time.time
    batches: int = 0  # that were published
    last_batch: int = -1
    _failure: RiskError | None = None
    _stored: dict[str, tuple[StoredView, ...]] = field(default_factory=dict)
    _last_batch_s: float = 0.0
    _started_s: float = 0.0
    _acknowledged_s: float = 0.0
    _retries: int = 0
    _dropped: int = 0

    def __post_init__(self) -> None:
        self._started_s = self._acknowledged_s = self.now_s()  # the store is asked at the start, too

    def __call__(self, batch: "DataFrame", batch_id: int) -> None:
        try:
            published = self._publish(batch, batch_id)
            for watcher in self.watchers:
                watcher(published)
        except RiskError as error:
            self._failure = error  # on its way through Java the error loses its class
            raise
        self.last_batch, self.batches = batch_id, self.batches + 1  # in this order: another thread reads both

    def end_minute(self) -> None:
        """Write what waits, unless it is withheld. What the store does not take now, the next start writes."""
        if self.withheld():
            return
        waits = {region: partial(_rest, views) for region, views in self._stored.items() if _wait(views)}
        try:
            self.sink.write_all(waits)
        except SinkUnavailable as error:
            log.warning("%s; the next start writes the last digits of the last minute", error)

    def take_failure(self) -> RiskError | None:
        """The error that ended the query, once."""
        failure, self._failure = self._failure, None
        return failure

    def _publish(self, rows: "DataFrame", batch_id: int) -> Published:
        started = time.monotonic()
        scored = [ScoredRow.of(row) for row in rows.toArrow().to_pylist()]
        batch = _Batch.of(scored, is_withheld=(withheld := self.withheld()) is not None)
        summaries = batch.summaries.items()
        self.dead_letters.write({region: unpack_rejections(of.rejections) for region, of in summaries})
        facts, unaccounted = self.facts(), self.unaccounted(batch_id, batch.consumed)
        of_the_machine = self._of_the_machine(facts, unaccounted)
        changes = {
            region: change
            for region, frame in batch.frames.items()
            if batch.champions[region].scores.followed and (change := self.change_of(frame))
        }
        report = self._write(self._scores(batch), b"".join(self._pipeline(batch, of_the_machine, changes)))
        self._keep(batch)
        views = dict(sorted(batch.views.items()))  # the sink made them in its own order
        self._stored = {} if batch.is_withheld else self._stored | batch.stored
        self._retries, self._dropped = self._retries + report.retries, self._dropped + report.dropped
        self._last_batch_s = time.monotonic() - started
        return Published(
            batch_id=batch_id,
            frames=batch.frames,
            views=views,
            summaries=batch.summaries,
            artifacts={region: Path(folder).name for region, folder in batch.folders.items()},
            following={region: row.scores.followed or "" for region, row in batch.champions.items()},
            changes=changes,
            unfollowed={region: row.scores.unfollowed or "" for region, row in batch.champions.items()},
            points=report.lines,
            retries=report.retries,
            dropped=report.dropped,
            seconds=self._last_batch_s,
            done_s=self.now_s(),
            acknowledged_s=self._acknowledged_s,
            facts=facts,
            unaccounted=unaccounted,
            withheld=withheld.in_words() if withheld else "",
        )

    def _keep(self, batch: _Batch) -> None:
        """Forecasts, and counts of closed horizons: for outcomes, and for those who judge a trial."""
        for region, frame in batch.frames.items():
            row = batch.champions[region]
            self.outcomes.keep(frame, batch.folders[region], row.scores.raw, row.scores.followed or "")
        for challenger in batch.challengers:
            if challenger.region in batch.frames:
                self.left.keep_forecast(challenger, batch.frames[challenger.region])
        for region, summary in batch.summaries.items():
            if summary.closed:
                self.left.keep_closed(load_artifact(batch.folders[region]).spec, summary.closed)

    def _write(self, scores: Mapping[str, MakeLines], ledgers: bytes) -> WriteReport:
        """The ledgers when the scores are acknowledged: their `as_of` says which scores are whole in the store.

        Without points the store is asked from time to time, so that one that is away is noticed.
        """
        report = self.sink.write_all(scores) if scores else NOTHING
        if report.requests:
            self._acknowledged_s = self.now_s()
        if ledgers or (not report.requests and abs(self.now_s() - self._acknowledged_s) >= ASK_EVERY_S):
            report += self.sink.write(ledgers)
            self._acknowledged_s = self.now_s()
        return report

    def _scores(self, batch: _Batch) -> dict[str, MakeLines]:
        """What makes each region's points: of its new scores or what waits of old ones, and of closed horizons."""
        closed = [region for region, summary in batch.summaries.items() if summary.closed]
        wait = [] if batch.is_withheld else [region for region, views in self._stored.items() if _wait(views)]
        parts: dict[str, MakeLines] = {
            region: partial(self._points, batch, region) for region in sorted({*batch.frames, *closed, *wait})
        }
        if closed:
            torch.set_num_threads(1)  # also in the writers: several would wait for one another longer than they compute
        return parts

    def _points(self, batch: _Batch, region: str) -> bytes:
        """The sink may call it in a thread of its own: it changes nothing but the region's views."""
        lines: list[bytes] = []
        if region in batch.frames:
            views = stored_views(batch.frames[region], load_artifact(batch.folders[region]).constants)
            before = self._stored.get(region) or self.left_views(region) or map(StoredView.new, views)
            steps = [stored.then(view) for stored, view in zip(before, views, strict=True)]
            lines += [*(top_lines(view, self.top_k) for view in views), unusual_lines(batch.frames[region])]
            batch.views[region] = views
        else:
            steps = [view.rest() for view in self._stored.get(region, ()) if not batch.is_withheld]
        lines += [points for points, _ in steps]
        if steps:
            batch.stored[region] = tuple(stored for _, stored in steps)
        if region in batch.summaries and (closed := batch.summaries[region].closed):
            lines.append(self.outcomes.points(load_artifact(batch.folders[region]).spec, closed))
        return b"".join(lines)

    def _pipeline(
        self, batch: _Batch, of_the_machine: Mapping[str, float], changes: Mapping[str, FollowedChange]
    ) -> Iterator[bytes]:
        for region, summary in batch.summaries.items():
            if not has_news(region, summary, batch.champions):
                continue
            # A minute's point of no region stays as it is until the minute ends: without messages it leaves out the
            # figures of the machine.
            figures = dict(of_the_machine) if region != UNASSIGNED or summary.ledger["consumed"] else {}
            if summary.newest_received_ms:
                figures["freshness_s"] = max(0.0, self.now_s() - summary.newest_received_ms / 1000)
            manifest = load_artifact(batch.folders[region]).manifest if region in batch.folders else None
            point = PipelinePoint(
                region=region,
                tick_s=tick_of(summary.as_of_s, manifest.spec if manifest else None),
                as_of_s=summary.as_of_s,
                middle=manifest.spec.grid.middle() if manifest else "",
                totals=summary.totals,
                newest_event_s=summary.newest_event_s or (manifest.data.cutoff_s if manifest else 0),
                model=batch.champions[region].scores.model if region in batch.champions else None,
                is_withheld=batch.is_withheld,
                data_end_s=manifest.data.cutoff_s if manifest else 0,
                followed_ago_s=batch.champions[region].followed_ago_s if region in batch.champions else None,
                change=changes[region].in_words(manifest.spec.timezone) if manifest and region in changes else "",
                challenger=(self.challenger(region) or NO_CHALLENGER) if manifest else None,
            )
            yield point.line(figures)

    def _of_the_machine(self, facts: QueryFacts, unaccounted: int) -> dict[str, float]:
        well_s = self.watched_until_s()
        watch = {} if well_s is None else {"watch_ago_s": max(0.0, self.now_s() - well_s)}
        return watch | {
            "lag_events": facts.lag_events,
            "batch_s": self._last_batch_s,
            "state_bytes": facts.state_bytes,
            "write_retries": self._retries,
            "write_dropped": self._dropped,
            "unaccounted": unaccounted,
            "started_s": self._started_s,
        }


def _wait(views: Sequence[StoredView]) -> bool:
    return any(view.waits for view in views)


def _rest(views: Sequence[StoredView]) -> bytes:
    return b"".join(view.rest()[0] for view in views)


def frame_of(row: ScoredRow, summary: Summary) -> RiskFrame:
    """The frame that a scored row holds."""
    spec = load_artifact(row.artifact or "").spec
    places = (spec.grid.cells, len(spec.categories))
    shapes = dict.fromkeys(FIELDS, (*places, len(spec.horizons_s))) | {
        "attribution": (-1, len(spec.categories), len(spec.horizons_s), len(ATTRIBUTION_GROUPS))
    }
    arrays: dict[str, Any] = {
        name: np.frombuffer(getattr(row.scores, name), "<f4").reshape(shapes[name]) for name in FIELDS
    }
    return RiskFrame(
        spec=spec,
        as_of_s=summary.as_of_s,
        model=row.scores.model or "",
        observed_1h=np.frombuffer(summary.observed_1h, "<i4").reshape(places),
        support=np.frombuffer(summary.support, "u1").reshape(places),
        unusual=msgspec.msgpack.decode(row.scores.unusual or _NONE, type=tuple[Unusual, ...]),
        silent=summary.silent,
        surges=msgspec.msgpack.decode(row.scores.surges or _NONE, type=tuple[Surge, ...]),
        **arrays,
    )

"""Stage 4, on the driver: scored rows -> dead letters, points in the store. One action per batch.

Everything is written before the batch is committed; a failure raises, Spark repeats the batch, and the points of
the repeat overwrite those of the first try.

A batch writes of a region's scores what a reader can see move; the rest waits for a pause (`StoredView`). Forecasts of
whole hours are kept beside the checkpoint, and compared with what happened when their horizons have closed.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import numpy.typing as npt

from models.local_time import hour_of_week
from models.outcomes import Forecast, by_chance, by_district, judge
from models.scoring import raised, stored_views, widened
from schemas.errors import RiskError, SinkError, SinkUnavailable
from schemas.event import REASONS
from schemas.forecasts import (
    ClosedCounts,
    ClosedFiles,
    FollowedChange,
    KeptForecasts,
    closed_folder,
    forecasts_folder,
    outcomes_folder,
)
from schemas.frame import ATTRIBUTION_GROUPS, RiskFrame, Surge, Unusual, frame_path, is_baseline, read_frames
from schemas.incidents import unpack_rejections
from schemas.records import read_withheld, watched_until_s
from schemas.spec import DAY_S, HOUR_S, Spec
from streaming.artifacts_in_force import load_artifact
from streaming.flow.rows import (
    NO_CHALLENGER,
    UNASSIGNED,
    WITHHELD,
    Published,
    QueryFacts,
    ScoredRow,
    Summary,
    has_news,
    label_of,
    tick_of,
)
from streaming.flow.score import change_followed
from streaming.kafka import DeadLetters
from streaming.sinks.line_protocol import VALUES, changed, point_line, risk_lines, top_lines, unusual_lines
from streaming.sinks.sink import NOTHING, MakeLines, Sink, WriteReport

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

log = logging.getLogger(__name__)
ASK_EVERY_S = 30.0  # while there is nothing to write; half of what health allows
VISIBLE = 0.02  # of a value: less waits


@dataclass(slots=True, kw_only=True)
class Publisher:
    """The callback of `foreachBatch`.

    checkpoint: beside which forecasts are kept. frames_folder: where the job leaves its frames, and whether they are
    withheld. follow_in: see `Dataflow`.
    """

    sink: Sink
    dead_letters: DeadLetters
    checkpoint: Path
    frames_folder: Path
    follow_in: Path | None = None
    top_k: int
    watchers: Sequence[Callable[[Published], None]]
    facts: Callable[[], QueryFacts] = QueryFacts
    challenger: Callable[[str], str | None] = lambda region: None  # the version that is tried in a region
    unaccounted: Callable[[int, int], int] = lambda number, consumed: 0  # of a batch's number and its messages
    now_s: Callable[[], float] = time.time
    batches: int = 0  # that were published
    last_batch: int = -1
    acknowledged_s: float = 0.0  # when the store last took points, or answered that it would
    _failure: RiskError | None = None
    _stored: dict[str, "StoredRegion"] = field(default_factory=dict)  # of a region that is missing it is not known
    _written: WriteReport = NOTHING  # since the start
    _last_batch_s: float = 0.0
    _started_s: float = 0.0

    def __post_init__(self) -> None:
        self._started_s = self.acknowledged_s = self.now_s()  # the store is asked at the start, too

    def __call__(self, batch: "DataFrame", batch_id: int) -> None:
        try:
            published = self._publish(batch, batch_id)
            for watcher in self.watchers:
                watcher(published)
        except RiskError as error:
            self._failure = error  # on its way through Java the error loses its class
            self._stored = {}  # a part may have arrived
            raise
        self.last_batch, self.batches = batch_id, self.batches + 1  # in this order: another thread reads both

    def end_minute(self) -> None:
        """Write what waits. What the store does not take now, the next start writes."""
        try:
            self._write_waiting()
        except SinkUnavailable as error:
            log.warning("%s; the next start writes the last digits of the last minute", error)

    def pause(self) -> None:
        """To be called from time to time while nothing comes: write what waits, and ask a store that was not needed."""
        self._write_waiting()
        if abs(self.now_s() - self.acknowledged_s) >= ASK_EVERY_S:
            self._acknowledge(self.sink.write(b""))

    def _write_waiting(self) -> None:
        """The points that wait, unless they are withheld."""
        waiting, stored = self._waiting(), dict[str, StoredRegion]()
        if not waiting or read_withheld(self.frames_folder):
            return

        def rest_of(region: str) -> bytes:
            lines, stored[region] = self._stored[region].rest()
            return lines

        self._acknowledge(self.sink.write_all({region: partial(rest_of, region) for region in waiting}))
        self._stored |= stored

    def _acknowledge(self, report: WriteReport) -> None:
        self.acknowledged_s = self.now_s()
        self._written += report

    def _waiting(self) -> list[str]:
        """Regions of which some points are not in the store as they were published last."""
        return [region for region, stored in self._stored.items() if stored.waits]

    def take_failure(self) -> RiskError | None:
        """The error that ended the query, once."""
        failure, self._failure = self._failure, None
        return failure

    def _publish(self, batch: "DataFrame", batch_id: int) -> Published:
        """Dead letters, then scores and ledgers, then what is kept beside the checkpoint."""
        started = time.monotonic()
        rows = [ScoredRow.of(row) for row in batch.toArrow().to_pylist()]
        of_regions = {row.region: row for row in rows if row.summary is not None}
        summaries = {region: row.summary for region, row in sorted(of_regions.items()) if row.summary is not None}
        folders = {region: row.artifact for region, row in of_regions.items() if row.artifact}
        champions = {region: row for region, row in of_regions.items() if row.scores.model}  # with new scores
        withheld = read_withheld(self.frames_folder)  # nobody may see the scores: only the ledger is written
        frames = {} if withheld else {region: frame_of(row, summaries[region]) for region, row in champions.items()}
        closed = {region: summary.closed for region, summary in sorted(summaries.items()) if summary.closed}
        changes = {
            region: change
            for region, frame in frames.items()
            if champions[region].scores.followed and (change := change_followed(self.follow_in, frame))
        }
        self.dead_letters.write({region: unpack_rejections(of.rejections) for region, of in summaries.items()})

        facts = self.facts()
        consumed = sum(summary.ledger["consumed"] for summary in summaries.values())
        unaccounted = self.unaccounted(batch_id, consumed)
        ledgers = self._ledgers(of_regions, summaries, changes, facts, unaccounted, is_withheld=withheld is not None)
        report, views = self._store(frames, closed, folders, ledgers, is_withheld=withheld is not None)
        for region, frame in frames.items():
            of = champions[region].scores
            keep_forecast(self.checkpoint, frame, folders[region], of.raw, of.followed or "")
        for row in rows:
            if row.summary is None and row.region in frames:
                keep_forecast_of_trial(self.checkpoint, row, frames[row.region])
        for region, horizons in closed.items():
            keep_closed_for_trial(self.checkpoint, load_artifact(folders[region]).spec, horizons)
        self._last_batch_s = time.monotonic() - started
        return Published(
            batch_id=batch_id,
            frames=frames,
            views=views,
            summaries=summaries,
            artifacts={region: Path(folder).name for region, folder in folders.items()},
            following={region: row.scores.followed or "" for region, row in champions.items()},
            changes=changes,
            unfollowed={region: row.scores.unfollowed or "" for region, row in champions.items()},
            points=report.lines,
            retries=report.retries,
            dropped=report.dropped,
            seconds=self._last_batch_s,
            done_s=self.now_s(),
            acknowledged_s=self.acknowledged_s,
            facts=facts,
            unaccounted=unaccounted,
            withheld=withheld.in_words() if withheld else "",
        )

    def _store(
        self,
        frames: Mapping[str, RiskFrame],
        closed: Mapping[str, Sequence[ClosedCounts]],
        folders: Mapping[str, str],
        ledgers: bytes,
        *,
        is_withheld: bool,
    ) -> tuple[WriteReport, dict[str, tuple[RiskFrame, RiskFrame]]]:
        """Write scores and outcomes, then ledgers: the report, and both views of each frame as they were published."""
        views: dict[str, tuple[RiskFrame, RiskFrame]] = {}
        stored: dict[str, StoredRegion] = {}  # what the store has then

        def points(region: str) -> bytes:
            """The sink may call it in a thread of its own: it changes nothing but what is of the region."""
            lines = b""
            if region in frames:
                views[region] = stored_views(frames[region], load_artifact(folders[region]).constants)
                before = self._stored.get(region) or StoredRegion.left(self.frames_folder, views[region])
                lines, stored[region] = before.then(frames[region], views[region], self.top_k)
            elif region in self._stored and not is_withheld:
                lines, stored[region] = self._stored[region].rest()
            if region in closed:
                lines += outcome_points(self.checkpoint, load_artifact(folders[region]).spec, closed[region])
            return lines

        waiting = [] if is_withheld else self._waiting()
        scores: dict[str, MakeLines] = {
            region: partial(points, region) for region in sorted({*frames, *closed, *waiting})
        }
        # The ledgers when the scores are acknowledged: their `as_of` says which scores are whole in the store.
        report = self.sink.write_all(scores) if scores else NOTHING
        if report.requests:
            self.acknowledged_s = self.now_s()
        # Without points the store is asked from time to time, so that one that is away is noticed.
        if ledgers or (not report.requests and abs(self.now_s() - self.acknowledged_s) >= ASK_EVERY_S):
            report += self.sink.write(ledgers)
            self.acknowledged_s = self.now_s()
        self._stored = {} if is_withheld else self._stored | stored
        self._written += report
        return report, dict(sorted(views.items()))  # the sink made them in its own order

    def _ledgers(
        self,
        rows: Mapping[str, ScoredRow],
        summaries: Mapping[str, Summary],
        changes: Mapping[str, FollowedChange],
        facts: QueryFacts,
        unaccounted: int,
        *,
        is_withheld: bool,
    ) -> bytes:
        """The `pipeline` points of a batch: of each region with news, and of the messages of no region."""
        of_the_machine: dict[str, float] = {
            "lag_events": facts.lag_events,
            "batch_s": self._last_batch_s,
            "state_bytes": facts.state_bytes,
            "write_retries": self._written.retries,
            "write_dropped": self._written.dropped,
            "unaccounted": unaccounted,
            "started_s": self._started_s,
        }
        watched_s = watched_until_s(self.checkpoint)
        if watched_s is not None:
            of_the_machine = {"watch_ago_s": max(0.0, self.now_s() - watched_s)} | of_the_machine
        lines = []
        for region, summary in summaries.items():
            row, model = rows[region], rows[region].scores.model or None
            if not has_news(region, summary, is_scored=model is not None):
                continue
            # A minute's point of no region stays as it is until the minute ends: without messages it leaves out the
            # figures of the machine.
            figures = dict(of_the_machine) if region != UNASSIGNED or summary.ledger["consumed"] else {}
            if summary.newest_received_ms:
                figures["freshness_s"] = max(0.0, self.now_s() - summary.newest_received_ms / 1000)
            spec, of_artifact = None, dict[str, Any]()
            if row.artifact:
                manifest = load_artifact(row.artifact).manifest
                spec, change = manifest.spec, changes.get(region)
                of_artifact = {
                    "newest_event_s": summary.newest_event_s or manifest.data.cutoff_s,
                    "model": model,
                    "is_withheld": is_withheld,
                    "data_end_s": manifest.data.cutoff_s,
                    "followed_ago_s": row.followed_ago_s if model else None,
                    "middle": spec.grid.middle(),
                    "change": change.in_words(spec.timezone) if change else "",
                    "challenger": self.challenger(region) or NO_CHALLENGER,
                }
            tick_s = tick_of(summary.as_of_s, spec)
            lines.append(pipeline_line(region, tick_s, summary.as_of_s, summary.totals, figures, **of_artifact))
        return b"".join(lines)


def pipeline_line(
    region: str,
    tick_s: int,
    as_of_s: int,
    totals: Mapping[str, int],
    of_the_machine: Mapping[str, float],
    *,
    newest_event_s: int = 0,
    model: str | None = None,
    is_withheld: bool = False,
    data_end_s: int = 0,
    followed_ago_s: int | None = None,
    **texts: str,
) -> bytes:
    """The `pipeline` point of a region: its ledger, and the state of its feed.

    newest_event_s: the newest counted incident; before the first, the end of the artifact's history, so that a feed
    that never connected is silent too; 0 for messages of no region. model: of the scores that the batch renewed, if it
    did. is_withheld: they are not in the store. data_end_s: of the artifact in force. followed_ago_s: since the hour of
    the file that the scores follow; None where they follow none. texts: `middle`, geohash of the region's middle, where
    a map writes that its scores are stale; `change` that the scores follow; `challenger`, the version that is tried
    beside it, or NO_CHALLENGER. An empty text is left out.
    """
    none = dict.fromkeys((f"rejected_{reason}" for reason in REASONS), 0)  # else the first of a reason is no step
    fields: dict[str, float | int | str] = {**none, **totals, "as_of": as_of_s, **of_the_machine}
    if newest_event_s:
        fields["silent_s"] = max(0, as_of_s - newest_event_s)
    if model:
        fields["scores_of"] = 0 if is_withheld else as_of_s
    if data_end_s:
        fields["data_end_s"] = data_end_s
    if followed_ago_s is not None:
        fields["followed_ago_s"] = followed_ago_s
    shown = {"model": WITHHELD if model and is_withheld else model, **texts}
    fields |= {name: text for name, text in shown.items() if text}
    return point_line("pipeline", {"region": label_of(region)}, fields, tick_s)


def frame_of(row: ScoredRow, summary: Summary) -> RiskFrame:
    """The frame that a scored row holds."""
    spec = load_artifact(row.artifact or "").spec
    none = msgspec.msgpack.encode(())
    places = (spec.grid.cells, len(spec.categories))
    attribution = np.frombuffer(row.scores.attribution or b"", "<f4")
    means: dict[str, Any] = {name: _unpacked(getattr(row.scores, name), spec) for name in VALUES}
    return RiskFrame(
        spec=spec,
        as_of_s=summary.as_of_s,
        model=row.scores.model or "",
        observed_1h=np.frombuffer(summary.observed_1h, "<i4").reshape(places),
        support=np.frombuffer(summary.support, "u1").reshape(places),
        unusual=msgspec.msgpack.decode(row.scores.unusual or none, type=tuple[Unusual, ...]),
        silent=summary.silent,
        surges=msgspec.msgpack.decode(row.scores.surges or none, type=tuple[Surge, ...]),
        attribution=attribution.reshape(-1, len(spec.categories), len(spec.horizons_s), len(ATTRIBUTION_GROUPS)),
        **means,
    )


@dataclass(frozen=True, slots=True)
class StoredView:
    """A view of a region's scores, and which of its points a batch writes: what a reader can see move.

    One incident moves the level of its region, and with it the last digits of two thirds of all points. They are
    written with the next batch that has no new scores of the region, at the latest when the minute ends. So a minute
    that has ended is in the store to the last digit: also after a kill, by the frame that was left beside the job.

    last: as it was published; in_store: as its minute's points are now.
    """

    last: RiskFrame
    in_store: RiskFrame | None = None  # None: not known

    def rest(self) -> tuple[bytes, "StoredView"]:
        """The points that wait, and what is stored then."""
        return risk_lines(self.last, changed(self.last, self.in_store)), StoredView(self.last, self.last)

    def then(self, frame: RiskFrame) -> tuple[bytes, "StoredView"]:
        """The points to write when `frame` comes next, and what is stored then."""
        if frame.tick_s != self.last.tick_s or frame.model != self.last.model or self.in_store is None:
            ended = self.rest()[0] if 0 < frame.tick_s - self.last.tick_s <= DAY_S else b""
            return ended + risk_lines(frame), StoredView(frame, frame)
        moved = changed(frame, self.in_store, least=VISIBLE)
        values = {name: np.where(moved, getattr(frame, name), getattr(self.in_store, name)) for name in VALUES}
        return risk_lines(frame, moved), StoredView(frame, replace(frame, **values))


@dataclass(frozen=True, slots=True)
class StoredRegion:
    """What the store has of a region: both views of its scores, and the `top` and `unusual` lines of its last frame."""

    views: tuple[StoredView, ...]
    beside: frozenset[bytes] = frozenset()

    @classmethod
    def left(cls, frames: Path, views: tuple[RiskFrame, RiskFrame]) -> "StoredRegion":
        """As a job before left it, by its frame; where none can be read, nothing is known. views: the next ones."""
        path = frame_path(frames, views[0].spec.region)
        if path.exists():
            try:
                last = read_frames(path)
                return cls((StoredView(last.by_category), StoredView(last.over_all)))
            except SinkError as error:
                log.warning("%s; of its minute the store may stay up to %g behind", error, VISIBLE)
        return cls(tuple(map(StoredView, views)))

    @property
    def waits(self) -> bool:
        """Whether some points are not in the store as they were published last."""
        return any(view.in_store is not view.last for view in self.views)

    def rest(self) -> tuple[bytes, "StoredRegion"]:
        """The points that wait, and what is stored then."""
        steps = [view.rest() for view in self.views]
        return b"".join(lines for lines, _ in steps), replace(self, views=tuple(view for _, view in steps))

    def then(self, frame: RiskFrame, views: tuple[RiskFrame, RiskFrame], top_k: int) -> tuple[bytes, "StoredRegion"]:
        """The points to write when `frame` with these views comes next, and what is stored then."""
        steps = [old.then(view) for old, view in zip(self.views, views, strict=True)]
        tops = b"".join(top_lines(view, top_k) for view in views)
        beside = (tops + unusual_lines(frame)).splitlines(keepends=True)  # they name their minute: each has all
        lines = [line for line in beside if line not in self.beside] + [moved for moved, _ in steps]
        return b"".join(lines), StoredRegion(tuple(view for _, view in steps), frozenset(beside))


def keep_forecast(
    checkpoint: Path, frame: RiskFrame, artifact: str, raw: bytes | None = None, following: str = ""
) -> None:
    """Keep a frame whose tick is a whole hour, unless that hour has one. Raises CheckpointError on a full disk.

    raw: what the network alone expected, if that is not what is shown; following: the hour of the file that was
    followed. Each forecast is judged twice when a horizon has closed (see `horizons_closed_between`).
    """
    if frame.tick_s % HOUR_S == 0:
        constants, of_network = load_artifact(artifact).constants, not frame.baseline_only
        forecast = Forecast.of(frame.model, frame.expected, frame.usual, constants, of_network=of_network)
        forecast = replace(
            forecast,
            has_history=np.asarray((frame.support > 0).any(axis=1)),
            dispersion=widened(forecast.dispersion, frame.expected, frame.surges, frame.spec),
            raised=raised(frame.surges, frame.spec) if frame.surges else None,
        )
        of_network_alone = None if raw is None else _unpacked(raw, frame.spec)
        content = replace(forecast.to_keep(), raw=of_network_alone, following=following)
        KeptForecasts(outcomes_folder(checkpoint)).write(content, frame.spec, frame.tick_s)


def outcome_points(checkpoint: Path, spec: Spec, closed: Sequence[ClosedCounts]) -> bytes:
    """`outcome`, `outcome_area` and `outcome_chance` lines of the horizons for which a forecast was kept."""
    folder = KeptForecasts(outcomes_folder(checkpoint))
    return b"".join(
        closed_points(Forecast.of_kept(forecast), counts, spec)
        for counts in closed
        if (forecast := folder.read(spec, counts.tick_s)) is not None
    )


def _unpacked(scores: bytes, spec: Spec) -> npt.NDArray[np.float32]:
    """(cells, categories, horizons) of bytes."""
    return np.frombuffer(scores, "<f4").reshape(spec.grid.cells, len(spec.categories), len(spec.horizons_s))


def closed_points(forecast: Forecast, closed: ClosedCounts, spec: Spec) -> bytes:
    """A forecast compared with what happened, as line protocol at the forecast's own time."""
    counts = closed.unpack(spec)
    weekday, hour = divmod(int(hour_of_week(np.array([closed.tick_s]), spec.timezone)[0]), 24)
    # Weekday (Monday is 1) and hour are local, when the horizon began.
    moment = {"weekday": weekday + 1, "hour": hour, "closed_s": closed.judged_s}
    where = {"horizon": spec.horizon_names[closed.horizon], "region": spec.region}
    lines = []

    def add(measurement: str, tags: Mapping[str, str], fields: Mapping[str, float | int | str]) -> None:
        lines.append(point_line(measurement, {**tags, **where}, fields, closed.tick_s))

    for category, values in judge(forecast, counts, spec).items():
        add("outcome", {"category": category}, {**values, **moment, "model": forecast.model})
    for (category, district), (expected, observed) in by_district(forecast, counts, spec).items():
        tags = {"category": category, "district": f"{district:02d}"}
        add("outcome_area", tags, {"expected": expected, "observed": observed})
    for (category, least), (cells, said, came) in by_chance(forecast, counts, spec).items():
        tags = {"category": category, "chance": f"{round(100 * least):02d}"}
        add("outcome_chance", tags, {"cells": cells, "said": said, "came": came})
    return b"".join(lines)


# What the job leaves beside the checkpoint for those who judge a trial: it judges nothing itself, and nothing that
# fails there may end or repeat a batch. What is tried must not harm what scores.


def keep_forecast_of_trial(checkpoint: Path, row: ScoredRow, beside: RiskFrame) -> None:
    """Keep what a challenger's network forecast beside a frame, unless that hour has a forecast of a challenger.

    What the baseline did in place of a network proves nothing of it, and is not kept.
    """
    try:
        scores = row.scores
        if scores.model and not is_baseline(scores.model):
            artifact = load_artifact(row.artifact or "")
            expected, usual = (_unpacked(part or b"", artifact.spec) for part in (scores.expected, scores.usual))
            raw = None if scores.raw is None else _unpacked(scores.raw, artifact.spec)
            forecast = Forecast.of(scores.model, expected, usual, artifact.constants, of_network=True)
            surges = msgspec.msgpack.decode(scores.surges, type=tuple[Surge, ...]) if scores.surges else ()
            wide = widened(forecast.dispersion, expected, surges, artifact.spec)
            content = replace(replace(forecast, dispersion=wide).to_keep(), raw=raw, following=scores.followed or "")
            KeptForecasts(forecasts_folder(checkpoint)).write(content, beside.spec, beside.tick_s)
    except Exception as error:
        log.warning("region=%s the challenger's forecast is not kept reason=%s", row.region, error)


def keep_closed_for_trial(checkpoint: Path, spec: Spec, closed: Sequence[ClosedCounts]) -> None:
    """Keep the counts of horizons that no late report can change any more."""
    try:
        ClosedFiles(closed_folder(checkpoint)).keep(spec, closed)
    except Exception as error:
        log.warning("region=%s closed counts are not kept for a trial reason=%s", spec.region, error)

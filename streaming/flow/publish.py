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
from models.measures import Forecast, by_chance, by_district, judge
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
    FIELDS,
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
    # What the store has, by region; of a region that is missing here it is not known. And its `top`, `unusual` lines.
    _stored: dict[str, tuple["StoredView", ...]] = field(default_factory=dict)
    _beside: dict[str, frozenset[bytes]] = field(default_factory=dict)
    _last_batch_s: float = 0.0
    _started_s: float = 0.0
    _retries: int = 0
    _dropped: int = 0

    def __post_init__(self) -> None:
        self._started_s = self.acknowledged_s = self.now_s()  # the store is asked at the start, too

    def __call__(self, batch: "DataFrame", batch_id: int) -> None:
        try:
            published = self._publish(batch, batch_id)
            for watcher in self.watchers:
                watcher(published)
        except RiskError as error:
            self._failure = error  # on its way through Java the error loses its class
            self._stored, self._beside = {}, {}  # a part may have arrived
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
        waiting = self._waiting()
        if not waiting or read_withheld(self.frames_folder):
            return

        def rest_of(region: str) -> bytes:
            return b"".join(view.rest()[0] for view in self._stored[region])

        self._acknowledge(self.sink.write_all({region: partial(rest_of, region) for region in waiting}))
        self._stored |= {region: tuple(view.rest()[1] for view in self._stored[region]) for region in waiting}

    def _acknowledge(self, report: WriteReport) -> None:
        self.acknowledged_s = self.now_s()
        self._retries, self._dropped = self._retries + report.retries, self._dropped + report.dropped

    def _waiting(self) -> list[str]:
        """Regions of which some points are not in the store as they were published last."""
        return [name for name, views in self._stored.items() if any(view.in_store is not view.last for view in views)]

    def take_failure(self) -> RiskError | None:
        """The error that ended the query, once."""
        failure, self._failure = self._failure, None
        return failure

    def _publish(self, batch: "DataFrame", batch_id: int) -> Published:
        started = time.monotonic()
        rows = [ScoredRow.of(row) for row in batch.toArrow().to_pylist()]
        challengers = [row for row in rows if row.summary is None]
        of_regions = {row.region: row for row in rows if row.summary is not None}
        summaries = {region: row.summary for region, row in sorted(of_regions.items()) if row.summary is not None}
        folders = {region: row.artifact for region, row in of_regions.items() if row.artifact}
        champions = {region: row for region, row in of_regions.items() if row.scores.model}  # with new scores
        withheld = read_withheld(self.frames_folder)  # nobody may see the scores: only the ledger is written
        frames = {} if withheld else {region: frame_of(row, summaries[region]) for region, row in champions.items()}
        changes = {
            region: change
            for region, frame in frames.items()
            if champions[region].scores.followed and (change := change_followed(self.follow_in, frame))
        }
        consumed = sum(summary.ledger["consumed"] for summary in summaries.values())
        self.dead_letters.write({region: unpack_rejections(of.rejections) for region, of in summaries.items()})

        facts, unaccounted = self.facts(), self.unaccounted(batch_id, consumed)
        watched_s = watched_until_s(self.checkpoint)
        of_the_machine: dict[str, float] = {
            "lag_events": facts.lag_events,
            "batch_s": self._last_batch_s,
            "state_bytes": facts.state_bytes,
            "write_retries": self._retries,
            "write_dropped": self._dropped,
            "unaccounted": unaccounted,
            "started_s": self._started_s,
        }
        if watched_s is not None:
            of_the_machine = {"watch_ago_s": max(0.0, self.now_s() - watched_s)} | of_the_machine
        ledgers = b"".join(
            self._ledger_line(of_regions[region], summary, changes.get(region), of_the_machine, withheld is not None)
            for region, summary in summaries.items()
            if has_news(region, summary, champions)
        )
        views: dict[str, tuple[RiskFrame, RiskFrame]] = {}  # of each frame, as they are published
        stored: dict[str, tuple[StoredView, ...]] = {}  # what the store has of them then
        beside: dict[str, frozenset[bytes]] = {}

        def points(region: str) -> bytes:
            """The sink may call it in a thread of its own: it changes nothing but the region's views."""
            lines: list[bytes] = []
            if region in frames:
                views[region] = stored_views(frames[region], load_artifact(folders[region]).constants)
                before = self._stored.get(region) or views_of_last_frame(self.frames_folder, region)
                before = before or tuple(map(StoredView, views[region]))
                steps = [old.then(view) for old, view in zip(before, views[region], strict=True)]
                tops = b"".join(top_lines(view, self.top_k) for view in views[region])
                now = (tops + unusual_lines(frames[region])).splitlines(keepends=True)
                lines += [line for line in now if line not in self._beside.get(region, ())]
                beside[region] = frozenset(now)  # they name their minute: each minute has all
            else:
                steps = [view.rest() for view in self._stored.get(region, ()) if not withheld]
            lines += [moved for moved, _ in steps]
            if steps:
                stored[region] = tuple(view for _, view in steps)
            if region in closed:
                spec = load_artifact(folders[region]).spec
                lines.append(outcome_points(self.checkpoint, spec, summaries[region].closed))
            return b"".join(lines)

        closed = {region for region, summary in summaries.items() if summary.closed}
        waiting = [] if withheld else self._waiting()
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

        for region, frame in frames.items():
            of = champions[region].scores
            keep_forecast(self.checkpoint, frame, folders[region], of.raw, of.followed or "")
        for row in challengers:
            if row.region in frames:
                keep_forecast_of_trial(self.checkpoint, row, frames[row.region])
        for region in sorted(closed):
            keep_closed_for_trial(self.checkpoint, load_artifact(folders[region]).spec, summaries[region].closed)
        self._stored = {} if withheld else self._stored | stored
        self._beside = {} if withheld else self._beside | beside
        self._retries, self._dropped = self._retries + report.retries, self._dropped + report.dropped
        self._last_batch_s = time.monotonic() - started
        return Published(
            batch_id=batch_id,
            frames=frames,
            views=dict(sorted(views.items())),  # the sink made them in its own order
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

    def _ledger_line(
        self,
        row: ScoredRow,
        summary: Summary,
        change: FollowedChange | None,
        of_the_machine: Mapping[str, float],
        is_withheld: bool,
    ) -> bytes:
        """The `pipeline` point of a region's batch, or of the messages of no region."""
        # A minute's point of no region stays as it is until the minute ends: without messages it leaves out the
        # figures of the machine.
        figures = dict(of_the_machine) if row.region != UNASSIGNED or summary.ledger["consumed"] else {}
        if summary.newest_received_ms:
            figures["freshness_s"] = max(0.0, self.now_s() - summary.newest_received_ms / 1000)
        model = row.scores.model or None
        if not row.artifact:
            tick_s = tick_of(summary.as_of_s, None)
            return pipeline_line(row.region, tick_s, summary.as_of_s, summary.totals, figures)
        manifest = load_artifact(row.artifact).manifest
        return pipeline_line(
            row.region,
            tick_of(summary.as_of_s, manifest.spec),
            summary.as_of_s,
            summary.totals,
            figures,
            newest_event_s=summary.newest_event_s or manifest.data.cutoff_s,
            model=model,
            is_withheld=is_withheld,
            data_end_s=manifest.data.cutoff_s,
            followed_ago_s=row.followed_ago_s if model else None,
            middle=manifest.spec.grid.middle(),
            change=change.in_words(manifest.spec.timezone) if change else "",
            challenger=self.challenger(row.region) or NO_CHALLENGER,
        )


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
        unusual=msgspec.msgpack.decode(row.scores.unusual or none, type=tuple[Unusual, ...]),
        silent=summary.silent,
        surges=msgspec.msgpack.decode(row.scores.surges or none, type=tuple[Surge, ...]),
        **arrays,
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


def views_of_last_frame(frames: Path, region: str) -> tuple[StoredView, StoredView] | None:
    """Both views of the frame that a job left before; None without one that can be read."""
    path = frame_path(frames, region)
    if not path.exists():
        return None
    try:
        last = read_frames(path)
    except SinkError as error:
        log.warning("%s; of its minute the store may stay up to %g behind", error, VISIBLE)
        return None
    return StoredView(last.by_category), StoredView(last.over_all)


def keep_forecast(
    checkpoint: Path, frame: RiskFrame, artifact: str, raw: bytes | None = None, following: str = ""
) -> None:
    """Keep a frame whose tick is a whole hour, unless that hour has one. Raises CheckpointError on a full disk.

    raw: what the network alone expected, if that is not what is shown; following: the hour of the file that was
    followed. Each forecast is judged twice when a horizon has closed (see `closed_horizons`).
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
        content = replace(forecast.to_keep(), raw=_unpacked(raw, frame.spec), following=following)
        KeptForecasts(outcomes_folder(checkpoint)).write(content, frame.spec, frame.tick_s)


def outcome_points(checkpoint: Path, spec: Spec, closed: Sequence[ClosedCounts]) -> bytes:
    """`outcome`, `outcome_area` and `outcome_chance` lines of the horizons for which a forecast was kept."""
    folder = KeptForecasts(outcomes_folder(checkpoint))
    return b"".join(
        closed_points(Forecast.of_kept(forecast), counts, spec)
        for counts in closed
        if (forecast := folder.read(spec, counts.tick_s)) is not None
    )


def _unpacked(raw: bytes | None, spec: Spec) -> npt.NDArray[np.float32] | None:
    """(cells, categories, horizons) of bytes."""
    shape = (spec.grid.cells, len(spec.categories), len(spec.horizons_s))
    return None if raw is None else np.frombuffer(raw, "<f4").reshape(shape)


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
        if row.scores.model and not is_baseline(row.scores.model):
            raw, following = _unpacked(row.scores.raw, beside.spec), row.scores.followed or ""
            content = replace(forecast_of(row).to_keep(), raw=raw, following=following)
            KeptForecasts(forecasts_folder(checkpoint)).write(content, beside.spec, beside.tick_s)
    except Exception as error:
        log.warning("region=%s the challenger's forecast is not kept reason=%s", row.region, error)


def keep_closed_for_trial(checkpoint: Path, spec: Spec, closed: Sequence[ClosedCounts]) -> None:
    """Keep the counts of horizons that no late report can change any more."""
    try:
        ClosedFiles(closed_folder(checkpoint)).keep(spec, closed)
    except Exception as error:
        log.warning("region=%s closed counts are not kept for a trial reason=%s", spec.region, error)


def forecast_of(row: ScoredRow) -> Forecast:
    """The forecast that a challenger's scored row holds."""
    artifact = load_artifact(row.artifact or "")
    spec, model = artifact.spec, row.scores.model or ""
    shape = (spec.grid.cells, len(spec.categories), len(spec.horizons_s))
    expected, usual = (
        np.frombuffer(part or b"", "<f4").reshape(shape) for part in (row.scores.expected, row.scores.usual)
    )
    forecast = Forecast.of(model, expected, usual, artifact.constants, of_network=True)
    surges = msgspec.msgpack.decode(row.scores.surges, type=tuple[Surge, ...]) if row.scores.surges else ()
    return replace(forecast, dispersion=widened(forecast.dispersion, expected, surges, spec))

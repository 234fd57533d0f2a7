"""Stage 2, on the workers: packed incidents -> counts -> features, one row per region. State lives in Spark.

Stored per region: `head` (clock, totals, what was last emitted, and a digest of the counts) and `blobs`
(models/counting/blobs.py). The live CountState stays in a cache of the worker process. Spark gives a region to any
worker that is free, so a cached state may lag: it then applies the stored segments that it missed. If that does not
lead to the stored digest (after a failed attempt, or a fold), it is restored from the blobs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import pandas as pd
from pyspark.sql.streaming.stateful_processor import StatefulProcessor, StatefulProcessorHandle
from pyspark.sql.types import BinaryType, StringType, StructField, StructType

from models.counting.blobs import Changes, Journal, pack_counts
from models.counting.count_state import horizons_closed_between
from models.features import FeatureEngine
from schemas.batches import day_of
from schemas.errors import SpecMismatch
from schemas.forecasts import ClosedCounts
from schemas.incidents import Incidents, Rejection, pack_rejections, unpack_rejections
from schemas.spec import HOUR_S
from streaming.artifacts_in_force import load_artifact
from streaming.flow.intake import take_in
from streaming.flow.rows import UNASSIGNED, CountedRow, Summary, add_up, balanced_ledger, tick_of
from streaming.flow.workers import on_this_worker, say_left_out, settle_worker


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a region's stored state without opening its blobs."""

    fingerprint: str = ""
    as_of_s: int = 0
    emitted_tick_s: int = -1
    emitted_artifact: str = ""
    newest_event_s: int = 0
    totals: dict[str, int] = {}
    digest: int = 0
    kept_day: str = ""  # day at whose first batch the counts were kept on disk


@dataclass(slots=True)
class _Live:
    journal: Journal
    engine: FeatureEngine
    engine_of: str
    challenger: FeatureEngine | None = None
    challenger_of: str = ""


_LIVE: dict[str, _Live] = {}
_REPORTED: set[str] = set()  # UNASSIGNED, when this worker has reported its ledger


class RegionCounter(StatefulProcessor):  # type: ignore[misc]
    """One region's counts. Every batch has at least a heartbeat row, so every region ticks."""

    def __init__(self, clock: str) -> None:
        self.clock = clock

    def init(self, handle: StatefulProcessorHandle) -> None:
        settle_worker()
        self.head = handle.getValueState("head", StructType([StructField("head", BinaryType())]))
        self.blobs = handle.getMapState(
            "blobs", StructType([StructField("name", StringType())]), StructType([StructField("blob", BinaryType())])
        )

    def handleInputRows(self, key: Any, rows: Iterator[pd.DataFrame], timerValues: Any) -> Iterator[pd.DataFrame]:
        region = key[0]
        packed = pd.concat(list(rows), ignore_index=True)
        stored = self.head.get()
        head = msgspec.msgpack.decode(stored[0], type=Head) if stored else Head()
        now_ms = int(timerValues.getCurrentProcessingTimeInMs())
        if region == UNASSIGNED:
            newest_ms = now_ms if self.clock == "wall" else int(packed["newest_ms"].max())
            after, row = _unassigned(head, packed, min(now_ms, newest_ms))
            if after == head and (region in _REPORTED or not head.as_of_s):
                return
            _REPORTED.add(region)
            counted = [row]
        else:
            after, counted = self._region(region, head, packed, now_ms)
        if after != head:
            self.head.update((msgspec.msgpack.encode(after),))
        yield pd.DataFrame(counted, columns=CountedRow._fields)

    def _region(self, region: str, head: Head, packed: pd.DataFrame, now_ms: int) -> tuple[Head, list[CountedRow]]:
        """Count a region's batch: its next head, its row, and on the hour that of its challenger."""
        folder = artifact_in_force(packed)
        artifact = load_artifact(on_this_worker(folder))
        fingerprint = artifact.spec.fingerprint()
        if head.fingerprint not in ("", fingerprint):
            raise SpecMismatch(
                f"the stored counts of {region} are for spec {head.fingerprint}, artifact {folder} has {fingerprint}",
                remedy="start with a new checkpoint folder",
            )
        consumed, incidents, refused = unpacked(packed)
        newest_received_ms = int(incidents.received_ms.max(initial=0))
        as_of_s = max((now_ms if self.clock == "wall" else newest_received_ms) // 1000, head.as_of_s)
        live = _LIVE.pop(region, None)  # put back at the end: after a failure it may be half changed
        if live is None or not self._is_current(live, head, as_of_s):
            if head.digest == 0:
                journal, changes = Journal.start(artifact.history())
                self._write(changes)
            else:
                blobs = {name[0]: bytes(blob[0]) for name, blob in self.blobs.iterator()}
                journal = Journal.restore(artifact.spec, blobs, as_of_s=head.as_of_s, digest=head.digest)
            live = _Live(journal, FeatureEngine(artifact.spec, artifact.constants), folder)
        if live.engine_of != folder:
            live.engine, live.engine_of = FeatureEngine(artifact.spec, artifact.constants), folder
        state = live.journal.state
        day, day_counts = max(day_of(now_ms), head.kept_day), b""
        if day != head.kept_day:
            day_counts = pack_counts(state, totals=head.totals, newest_event_s=head.newest_event_s)

        applied, rejections, ledger = take_in(state, incidents, refused, as_of_s=as_of_s, consumed=consumed)
        changes = live.journal.record(applied.changed)
        # Nothing that is scored has changed since the last emission where none of these holds.
        is_due = len(applied.changed) > 0 or state.tick_s != head.emitted_tick_s or folder != head.emitted_artifact
        features = live.engine.compute(state) if is_due else None
        after = Head(
            fingerprint=fingerprint,
            as_of_s=state.as_of_s if consumed or features else head.as_of_s,
            emitted_tick_s=state.tick_s,
            emitted_artifact=folder,
            newest_event_s=max(head.newest_event_s, applied.newest_counted_s),
            totals=add_up(head.totals, ledger),
            digest=live.journal.digest,
            kept_day=day,
        )
        # A batch that is repeated closes the same horizons: its clock and the stored one before it are the same.
        closed = map(ClosedCounts.of, horizons_closed_between(state, head.as_of_s)) if head.as_of_s else ()
        summary = Summary(
            as_of_s=state.as_of_s,
            ledger=ledger,
            totals=after.totals,
            newest_event_s=after.newest_event_s,
            newest_received_ms=newest_received_ms,
            rejections=pack_rejections(rejections),
            observed_1h=features.observed_1h.astype("<i4").tobytes() if features else b"",
            support=features.support.astype("u1").tobytes() if features else b"",
            silent=features.silent if features else (),
            closed=tuple(closed),
            day=day if day_counts else "",
            day_counts=day_counts,
        )
        self._write(changes)
        _LIVE[region] = live
        row = CountedRow(
            region,
            folder,
            features=features.values.astype("<f4").tobytes() if features else None,
            summary=msgspec.msgpack.encode(summary),
            tick_s=state.tick_s,
            recent=features.recent.astype("<i4").tobytes() if features else None,
            lately=features.lately.pack() if features and features.lately else None,
        )
        if state.tick_s == head.emitted_tick_s or state.tick_s % HOUR_S:
            return after, [row]
        # The first frame of a whole hour: the forecast that is kept and judged, with its challenger's.
        return after, [row, *_of_challenger(region, live, _newest(packed["challenger"]))]

    def _is_current(self, live: _Live, head: Head, as_of_s: int) -> bool:
        """Bring a live state that other workers have overtaken up to the stored one; False if that cannot be."""
        journal = live.journal
        if journal.state.as_of_s > as_of_s:
            return False
        while journal.digest != head.digest:
            missed = self.blobs.getValue((journal.next_key,))
            if missed is None or not journal.follow(bytes(missed[0])):
                return False
        return True

    def _write(self, changes: Changes) -> None:
        for name, blob in changes.puts.items():
            self.blobs.updateValue((name,), (blob,))
        for name in changes.deletes:
            self.blobs.removeKey((name,))

    def close(self) -> None:
        """Spark asks for it; the live counts stay for the next batch."""


def unpacked(packed: pd.DataFrame) -> tuple[int, Incidents, list[Rejection]]:
    """(messages, incidents, those that were refused) of a region's packed rows, from whichever tasks, in any order."""
    incidents = Incidents.concatenate([Incidents.unpack(blob) for blob in packed["incidents"] if blob])
    refused = [rejection for blob in packed["rejections"] for rejection in unpack_rejections(blob)]
    return int(packed["consumed"].sum()), incidents, refused


def artifact_in_force(packed: pd.DataFrame) -> str:
    """The heartbeat's artifact; before a new region's first heartbeat, the one that its messages name."""
    by_heartbeat = packed.loc[packed["is_heartbeat"], "artifact"]
    return _newest(by_heartbeat if len(by_heartbeat) else packed["artifact"])


def _newest(folders: pd.Series) -> str:
    """The names of a region's artifacts begin with the time at which each was made."""
    return max((folder for folder in folders if folder), default="")


def _of_challenger(region: str, live: _Live, folder: str) -> Iterator[CountedRow]:
    """The row of the region's challenger, from the same counts. folder: of the challenger, or empty.

    There is no row without a challenger, or where anything of it fails: the region goes on, the roster's watch reports
    what cannot be read, and the gate the hours that it could not be scored.
    """
    if not folder:
        live.challenger, live.challenger_of = None, ""
        return
    state = live.journal.state
    try:
        artifact = load_artifact(on_this_worker(folder))
        if live.challenger is None or live.challenger_of != folder:
            live.challenger, live.challenger_of = FeatureEngine(state.spec, artifact.constants), folder
        features = live.challenger.compute(state)
    except Exception as error:
        say_left_out(folder, repr(error))
        return
    lately = features.lately.pack() if features.lately else None
    yield CountedRow(region, folder, features.values.astype("<f4").tobytes(), None, state.tick_s, lately=lately)


def _unassigned(head: Head, packed: pd.DataFrame, now_ms: int) -> tuple[Head, CountedRow]:
    """Messages that belong to no region: nothing to count, but each has its place in a ledger.

    The head stays the same when there is no such message and no new minute: then there is nothing to report, except
    after a start. A batch that was stored but not committed is repeated then, and where a region has joined since,
    its messages are no longer of no region: the store's point must give way. On the wall clock a minute without any
    has its point too, so that a chart shows the first of a burst as a step.
    """
    consumed, _, refused = unpacked(packed)
    ledger = balanced_ledger(consumed, {}, refused)
    as_of_s = max(head.as_of_s, now_ms // 1000)
    tick_s = tick_of(as_of_s, None)
    after = head
    if refused or (as_of_s and tick_s != head.emitted_tick_s):
        after = Head(as_of_s=as_of_s, emitted_tick_s=tick_s, totals=add_up(head.totals, ledger), digest=1)
    summary = Summary(
        as_of_s=after.as_of_s,
        ledger=ledger,
        totals=after.totals,
        rejections=pack_rejections(refused),
    )
    return after, CountedRow(UNASSIGNED, None, None, msgspec.msgpack.encode(summary))

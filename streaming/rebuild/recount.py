"""Computes scores again from the log of batches and the topic's messages, without Spark, by the stream's functions.

Every batch of the plan is counted with the clock that it had live, and must lead to the ledger in the log.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from models.all_categories import stored_views
from models.counting.count_state import CountState
from models.features import FeatureEngine
from schemas.decode import Messages, decode_messages
from schemas.errors import ArtifactError, PipelineError
from schemas.frame import RiskFrame
from schemas.incidents import Incidents, Rejection
from schemas.spec import Spec
from streaming.disk.batch_log import LoggedBatch, LoggedRegion
from streaming.disk.kept_counts import batches_folder, counts_path, day_of, read_counts
from streaming.flow.intake import take_in
from streaming.flow.ledger import UNASSIGNED, add_up, balanced_ledger, tick_of
from streaming.flow.pipeline_point import PipelinePoint
from streaming.flow.score import scored_frame
from streaming.instants import instant_text
from streaming.rebuild.plan import RebuildPlan
from streaming.roster.roster import load_artifact
from streaming.sinks.line_protocol import risk_lines, top_lines

_EXPIRE_EVERY = 64  # batches of a region


@dataclass(slots=True)
class _Region:
    """What is known of a region up to the batch that was counted last."""

    state: CountState
    totals: dict[str, int]
    newest_event_s: int
    batches: int = 0
    scored_tick_s: int = -1
    model: str = ""  # of that tick's scores


@dataclass(slots=True)
class Recount:
    """Counts the batches of a plan: call `points` with each of them in turn."""

    plan: RebuildPlan
    checkpoint: Path
    artifacts: Path
    specs: Mapping[str, Spec]
    differing: int = 0  # frames that are not equal to what was written live
    _joined: dict[str, Spec] = field(default_factory=dict)  # regions of the batches until now
    _regions: dict[str, _Region] = field(default_factory=dict)
    _engines: dict[Path, FeatureEngine] = field(default_factory=dict)  # by artifact
    _unassigned_totals: dict[str, int] = field(default_factory=dict)

    def check_artifacts(self) -> None:
        """Raise ArtifactError when an artifact that the span's scores need is gone or damaged."""
        for batch in self.plan.batches:
            for region, logged in batch.regions.items():
                if (batch.number, region) not in self.plan.frames:
                    continue
                folder = self._folder(region, logged)
                if not folder.is_dir():
                    scored = f"{region} at {instant_text(logged.as_of_s)}"
                    raise ArtifactError(f"{folder}, which made the scores of {scored}, is gone", remedy="restore it")
                load_artifact(str(folder))

    def points(self, batch: LoggedBatch, messages: Iterable[Messages]) -> bytes:
        """Count the batch; its points that no later batch overwrote, as line protocol.

        Raises PipelineError when its messages lead to another ledger than the one in the log.
        """
        incidents, refused = self._decoded(batch, messages)
        parts: list[bytes] = []
        for region, logged in batch.regions.items():
            if region == UNASSIGNED:
                parts.append(self._of_no_region(batch, logged, refused.pop(region, [])))
            else:
                arrived = Incidents.concatenate(incidents.pop(region, []))
                parts += self._of_region(batch, region, logged, arrived, refused.pop(region, []))
        for region in {*incidents, *refused}:
            raise _differs(batch, region, "messages that are not in the log")
        return b"".join(parts)

    def _decoded(
        self, batch: LoggedBatch, messages: Iterable[Messages]
    ) -> tuple[dict[str, list[Incidents]], dict[str, list[Rejection]]]:
        self._joined |= {region: self.specs[region] for region in batch.regions if region != UNASSIGNED}
        incidents: dict[str, list[Incidents]] = {}
        refused: dict[str, list[Rejection]] = {}
        for part in messages:
            decoded = decode_messages(part, self._joined, now_ms=batch.at_ms)
            for region, arrived in decoded.incidents.items():
                incidents.setdefault(region, []).append(arrived)
            for region, rejections in decoded.rejections.items():
                refused.setdefault(region, []).extend(rejections)
        return incidents, refused

    def _of_no_region(self, batch: LoggedBatch, logged: LoggedRegion, refused: list[Rejection]) -> bytes:
        ledger = balanced_ledger(len(refused), {}, refused)
        before = self._unassigned_totals or {name: n - ledger.get(name, 0) for name, n in logged.totals.items()}
        self._unassigned_totals = totals = add_up(before, ledger)
        _compare(batch, UNASSIGNED, totals, logged.totals)
        if (batch.number, UNASSIGNED) not in self.plan.ledgers:
            return b""
        tick_s = tick_of(logged.as_of_s, None)
        return PipelinePoint(region=UNASSIGNED, tick_s=tick_s, as_of_s=logged.as_of_s, totals=totals).line({})

    def _of_region(
        self, batch: LoggedBatch, region: str, logged: LoggedRegion, incidents: Incidents, refused: list[Rejection]
    ) -> Iterator[bytes]:
        known = self._regions.get(region)
        if known is None:
            known = self._regions[region] = self._opened(batch, region, logged)
        consumed = len(incidents) + len(refused)
        applied, _, ledger = take_in(known.state, incidents, refused, as_of_s=logged.as_of_s, consumed=consumed)
        known.totals = add_up(known.totals, ledger)
        known.newest_event_s = max(known.newest_event_s, applied.newest_counted_s)
        counted = {"as_of": known.state.as_of_s, **known.totals}
        _compare(batch, region, counted, {"as_of": logged.as_of_s, **logged.totals})
        known.batches += 1
        if known.batches % _EXPIRE_EVERY == 0:
            known.state.registry.expire(known.state.drop_before_s)
        return self._points_of(batch, region, logged, known)

    def _points_of(self, batch: LoggedBatch, region: str, logged: LoggedRegion, known: _Region) -> Iterator[bytes]:
        place = (batch.number, region)
        if place in self.plan.frames:
            frame = self._scored(region, known.state, self._folder(region, logged))
            known.scored_tick_s, known.model = frame.tick_s, frame.model
            self.differing += frame.digest() != logged.scores
            for view in stored_views(frame, load_artifact(str(self._folder(region, logged))).constants):
                yield risk_lines(view)
                yield top_lines(view, batch.top_k)
        if place in self.plan.ledgers:
            tick_s = tick_of(logged.as_of_s, self.specs[region])
            folder = self._folder(region, logged)  # a ledger without scores is rebuilt also when it is gone
            data_end_s = load_artifact(str(folder)).manifest.data.cutoff_s if folder.is_dir() else 0
            point = PipelinePoint(
                region=region,
                tick_s=tick_s,
                as_of_s=logged.as_of_s,
                totals=known.totals,
                newest_event_s=known.newest_event_s or data_end_s,
                model=known.model if known.scored_tick_s == tick_s else None,
                data_end_s=data_end_s,
            )
            yield point.line({})

    def _opened(self, batch: LoggedBatch, region: str, logged: LoggedRegion) -> _Region:
        """With the counts that were kept for the log's day.

        A region may join while the clock is set back to the day before. Its first counts are then kept for that day;
        for the log's day it has none, or later ones, of when the clock reached that day again.
        """
        folder, spec = batches_folder(self.checkpoint), self.specs[region]
        path, by_clock = (counts_path(folder, day, region) for day in (batch.day, day_of(batch.at_ms)))
        if not path.exists() and by_clock.exists():
            path = by_clock
        state, totals, newest_event_s = read_counts(path, spec)
        if state.as_of_s > logged.as_of_s and path != by_clock:
            state, totals, newest_event_s = read_counts(by_clock, spec)
        return _Region(state=state, totals=totals, newest_event_s=newest_event_s)

    def _scored(self, region: str, state: CountState, folder: Path) -> RiskFrame:
        artifact = load_artifact(str(folder))
        engine = self._engines.setdefault(folder, FeatureEngine(artifact.spec, artifact.constants))
        return scored_frame(str(folder), engine.compute(state), state.as_of_s)

    def _folder(self, region: str, logged: LoggedRegion) -> Path:
        return self.artifacts.absolute() / region / logged.artifact


def _compare(batch: LoggedBatch, region: str, counted: Mapping[str, int], logged: Mapping[str, int]) -> None:
    wrong = {
        name: (logged.get(name, 0), counted.get(name, 0))
        for name in {**logged, **counted}
        if logged.get(name, 0) != counted.get(name, 0)
    }
    if wrong:
        raise _differs(batch, region, ", ".join(f"{name} {was} live, {now} now" for name, (was, now) in wrong.items()))


def _differs(batch: LoggedBatch, region: str, how: str) -> PipelineError:
    return PipelineError(
        f"batch {batch.number} of {instant_text(batch.at_ms // 1000)} gives other counts than the job stored, in "
        f"{region or 'messages of no region'} ({how}); nothing from that batch on was written",
        remedy="choose a --to before it, or a --from on a later day",
    )

"""What a rebuild of a span has to do: which logged batches to count, and which of their points the store had last."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from schemas.spec import Spec
from streaming.disk.batch_log import LoggedBatch, logged_batches, logged_days
from streaming.flow.ledger import tick_of
from streaming.instants import instant_text


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildPlan:
    """Batches to count, from the start of a day on, and which of them give points of the span.

    Batches inside a tick overwrite each other's points, so only the last batch of each tick is written.
    """

    batches: list[LoggedBatch]
    frames: frozenset[tuple[int, str]]  # (batch, region): the last scores of a tick
    ledgers: frozenset[tuple[int, str]]  # (batch, region): the last batch of a tick
    open_ticks: Mapping[str, int]  # regions with a tick in the span that a running job may still write -> that tick
    first_s: int  # times of the span's first and last point
    last_s: int

    def __str__(self) -> str:
        events = sum(end - first for first, end in self.offsets.values())
        regions = len({region for _, region in self.frames})
        return (
            f"{instant_text(self.first_s)} to {instant_text(self.last_s)}: {len(self.frames):,} frames of {regions} "
            f"region(s), from {events:,} events in {len(self.batches):,} batches"
        )

    @property
    def offsets(self) -> dict[int, tuple[int, int]]:
        """By partition, the first message needed and the first one after them."""
        needed: dict[int, tuple[int, int]] = {}
        for batch in self.batches:
            for partition, (first, end) in batch.offsets.items():
                needed[partition] = (needed.get(partition, (first, end))[0], end)
        return needed


def plan_rebuild(checkpoint: Path, specs: Mapping[str, Spec], span: range, *, clock: str) -> RebuildPlan | None:
    """The plan, or None when the log has no point in the span, epoch seconds. Raises CheckpointError."""
    batches: list[LoggedBatch] = []
    needed, newest_batch_s = 0, 0
    frames: dict[tuple[str, int], int] = {}
    ledgers: dict[tuple[str, int], int] = {}
    newest_tick_s: dict[str, int] = {}
    for day in logged_days(checkpoint):
        if not needed:
            batches.clear()
        for batch in logged_batches(checkpoint, day):
            batches.append(batch)
            newest_batch_s = batch.at_ms // 1000
            for region, logged in batch.regions.items():
                tick_s = newest_tick_s[region] = tick_of(logged.as_of_s, specs.get(region))
                if tick_s in span:
                    needed = len(batches)
                    ledgers[region, tick_s] = batch.number
                    if logged.scores:
                        frames[region, tick_s] = batch.number
    if not needed:
        return None
    if clock == "wall":  # a region's next batch comes after all that are logged, not only after its own
        newest_tick_s = {
            region: max(own_s, tick_of(newest_batch_s, specs.get(region))) for region, own_s in newest_tick_s.items()
        }
    return RebuildPlan(
        batches=batches[:needed],
        frames=frozenset((number, region) for (region, _), number in frames.items()),
        ledgers=frozenset((number, region) for (region, _), number in ledgers.items()),
        first_s=min(tick_s for _, tick_s in ledgers),
        last_s=max(tick_s for _, tick_s in ledgers),
        open_ticks={region: tick_s for region, tick_s in newest_tick_s.items() if (region, tick_s) in ledgers},
    )

"""How the running job is: the small file beside the checkpoint, `health.json`, which the job writes every second."""

from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec

Phase = Literal["running", "stopped", "failed"]


class StoredBatch(msgspec.Struct, frozen=True):
    """The newest batch. stored_at: when the store last took points, or answered that it would."""

    id: int
    stored_at: datetime


class RegionHealth(msgspec.Struct, frozen=True, kw_only=True):
    as_of: datetime
    age_s: float  # when the file was written
    baseline_only: str = ""  # `baseline:` and why, while the scores are without the network
    unfollowed: str = ""  # why the scores do not follow what the last weeks showed, where there is something to follow


class JobHealth(msgspec.Struct, frozen=True, kw_only=True):
    """The file's content. reason: why the job is not ready; empty when it is."""

    ready: bool = False
    reason: str = ""
    phase: Phase = "running"
    process: int
    started_at: datetime
    written_at: datetime
    clock: Literal["wall", "event"]
    trigger_s: float
    last_batch: StoredBatch | None = None
    regions: dict[str, RegionHealth] = {}
    ledger_balanced: bool = True
    unbalanced: list[str] = []  # regions; also `_unassigned`, for messages of no region
    unaccounted: int = 0  # messages by Kafka's offsets less those in the ledger, since the start
    kafka_away: bool = False
    store_trouble: str = ""  # while a write is tried again
    lag_events: float = 0.0
    withheld: str = ""  # why nobody may see the scores
    error: str = ""
    exit_code: int | None = None


def health_path(checkpoint: Path) -> Path:
    return checkpoint / "health.json"

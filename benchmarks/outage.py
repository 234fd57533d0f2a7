"""From when each event was meant to be sent and when it was acknowledged to latencies, and to what an outage cost."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from benchmarks.job import TimedBatch
from benchmarks.product import ledger
from benchmarks.rates import latencies

NORMAL_FACTOR = 1.5  # the job has caught up when no event has waited for longer than this times the p99 before
_UNDER_WAY_S = 5.0  # what was sent so shortly before the kill may have waited for the restart
Values = npt.NDArray[np.float64]


def newest_of_each(batches: Sequence[TimedBatch]) -> list[TimedBatch]:
    """Each batch once, in order: what was repeated after a kill is what was acknowledged last."""
    newest = {batch.batch_id: batch for batch in batches}
    return [newest[number] for number in sorted(newest)]


def timed(sent: Values, batches: Sequence[TimedBatch]) -> tuple[Values, Values]:
    """Intended time and latency in seconds of the events that the batches held, in the order of the intended times.

    sent: rows of `sending.send_open_loop`.
    """
    ordered = newest_of_each(batches)
    ends = [batch.end_offsets for batch in ordered]
    held = np.zeros(len(sent), bool)
    for partition, end in (ends[-1] if ends else {}).items():
        held |= (sent[:, 0] == partition) & (sent[:, 1] < end)
    rows = sent[held]
    rows = rows[np.argsort(rows[:, 2], kind="stable")]
    return rows[:, 2], latencies(rows, np.array([batch.acknowledged_s for batch in ordered]), ends)


def percentiles_ms(latency_s: Values) -> dict[str, float]:
    p50, p95, p99 = (round(float(value) * 1000, 1) for value in np.percentile(latency_s, (50, 95, 99)))
    return {"p50": p50, "p95": p95, "p99": p99, "max": round(float(latency_s.max()) * 1000, 1)}


def backlog_at(intended_s: Values, acknowledged_s: Values, at_s: float) -> int:
    """Events that were meant to be sent by then and whose scores were not acknowledged by then."""
    return int(np.count_nonzero(intended_s <= at_s) - np.count_nonzero(acknowledged_s <= at_s))


def caught_up_at(
    intended_s: Values, acknowledged_s: Values, batches: Sequence[TimedBatch], *, limit_s: float
) -> float | None:
    """When the first batch was acknowledged that left no event waiting for longer than `limit_s`; None without one."""
    for batch in batches:
        at_s = batch.acknowledged_s
        waiting = intended_s[(intended_s <= at_s) & (acknowledged_s > at_s)]
        if not len(waiting) or at_s - waiting[0] <= limit_s:
            return at_s
    return None


def phase(intended_s: Values, latency_s: Values, from_s: float, to_s: float) -> dict[str, float]:
    """Figures of the events that were meant to be sent in [from_s, to_s). Raises ValueError when there is none."""
    inside = (intended_s >= from_s) & (intended_s < to_s)
    if not inside.any():
        raise ValueError(f"no event was acknowledged of the {to_s - from_s:.0f} s that were asked for")
    return {"events": int(inside.sum()), "seconds": round(to_s - from_s, 1), **percentiles_ms(latency_s[inside])}


def outage_of(
    intended_s: Values, latency_s: Values, after: Sequence[TimedBatch], *, killed_s: float, start_s: float
) -> dict[str, float]:
    """What it cost that the job was killed at `killed_s` and started again at `start_s`, epoch seconds.

    after: batches since then. Raises ValueError when the job never caught up.
    """
    acknowledged_s = intended_s + latency_s
    before = intended_s < killed_s - _UNDER_WAY_S
    limit_s = NORMAL_FACTOR * float(np.percentile(latency_s[before], 99))
    caught_up_s = caught_up_at(intended_s, acknowledged_s, after, limit_s=limit_s)
    if caught_up_s is None:
        raise ValueError("the job never caught up")
    gained = ledger([batch for batch in after if batch.acknowledged_s <= caught_up_s])["consumed"]
    return {
        "away_s": round(start_s - killed_s, 1),
        "backlog": backlog_at(intended_s, acknowledged_s, start_s),
        "first_batch_began_s": round(after[0].started_s - start_s, 1),
        "caught_up_s": round(caught_up_s - start_s, 1),
        "events_per_s": round(gained / (caught_up_s - after[0].started_s)),
        "longest_wait_s": round(float(latency_s.max()), 1),
    }

"""From when each event was meant to be sent and when it was acknowledged to the figures of a surge and of an outage."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.job import TimedBatch
from benchmarks.product import ledger
from benchmarks.rates import latencies

WINDOW_S = 5.0
NORMAL_FACTOR = 1.5  # latency is normal again when p99 is within this factor of what it was before
Values = npt.NDArray[np.float64]


def timed(sent: Values, batches: Sequence[TimedBatch]) -> tuple[Values, Values]:
    """Intended time and latency in seconds of the events that the batches held, in the order of the intended times.

    sent: rows of open_loop. A batch that is in there twice was repeated; its later acknowledgement is the one.
    """
    last = {batch.batch_id: batch for batch in batches}
    ordered = [last[number] for number in sorted(last)]
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


def normal_from(
    intended_s: Values, latency_s: Values, *, since_s: float, until_s: float, limit_s: float
) -> float | None:
    """Start of the first WINDOW_S after `since_s` in which p99 is at most `limit_s`; None when there is none yet.

    Windows begin a second apart and are judged only when they lie before `until_s`: all their events are known then.
    """
    start_s = since_s
    while start_s + WINDOW_S <= until_s:
        inside = latency_s[(intended_s >= start_s) & (intended_s < start_s + WINDOW_S)]
        if len(inside) and np.percentile(inside, 99) <= limit_s:
            return start_s
        start_s += 1.0
    return None


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


def figures_of(
    sent: Values,
    before: Sequence[TimedBatch],
    after: Sequence[TimedBatch],
    *,
    spans: Mapping[str, tuple[float, float]],
    stopping_s: float,
    start_s: float,
) -> dict[str, Any]:
    """Everything that the page says, from the whole run. spans: begin and end of each phase, epoch seconds.

    before, after: batches of the job until it was stopped, and since it was started again at `start_s`.
    """
    intended_s, latency_s = timed(sent, [*before, *after])
    acknowledged_s = intended_s + latency_s
    phases = {name: phase(intended_s, latency_s, *span) for name, span in spans.items() if span[1] > span[0]}
    limit_s = NORMAL_FACTOR * phases["normal"]["p99"] / 1000
    first = after[0]
    caught_up_s = caught_up_at(intended_s, acknowledged_s, after, limit_s=limit_s)
    if caught_up_s is None:
        raise ValueError("the job never caught up")
    gained = [batch for batch in after if batch.acknowledged_s <= caught_up_s]
    total = ledger([*before, *after])
    late_ms = {
        name: round(float(np.percentile((sent[:, 3] - sent[:, 2])[(sent[:, 2] >= a) & (sent[:, 2] < b)], 99)) * 1000, 1)
        for name, (a, b) in spans.items()
        if b > a
    }
    return {
        "phases": phases,
        "sender_late_p99_ms": late_ms,
        "normal_limit_ms": round(limit_s * 1000, 1),
        "recovered_s": round(spans["until normal again"][1] - spans["surge"][1], 1),
        "most_waiting_in_surge": max(
            backlog_at(intended_s, acknowledged_s, batch.acknowledged_s - 1e-3)
            for batch in before
            if batch.acknowledged_s >= spans["surge"][0]
        ),
        "outage": {
            "stopped_s": round(start_s - stopping_s, 1),
            "backlog": backlog_at(intended_s, acknowledged_s, start_s),
            "caught_up_s": round(caught_up_s - start_s, 1),
            "first_batch_began_s": round(first.started_s - start_s, 1),
            "batches": len(gained),
            "events": ledger(gained)["consumed"],
            "events_per_s": round(ledger(gained)["consumed"] / (caught_up_s - first.started_s)),
            "longest_wait_s": round(float(latency_s[intended_s >= stopping_s].max()), 1),
        },
        "sent": len(sent),
        "ledger": {name: count for name, count in total.items() if count},
    }

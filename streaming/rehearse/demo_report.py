"""The summary that the demo prints at its end."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from models.counting.count_state import OUTCOMES
from schemas.errors import DataError
from schemas.frame import RiskFrame
from streaming.rehearse.demo import DAY_S, Demo
from streaming.rehearse.replay import local_text

_AREA_SHARE = 0.05
_TOP = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class HitRates:
    """Shares of a period's incidents inside equally many cells, chosen in three ways. Fractions, 0..1."""

    flagged_cells: int
    active_cells: int
    incidents: int  # in active cells or not
    model: float
    baseline: float
    ideal: float  # by the cells that had the most incidents, which nobody can know beforehand


def report(demo: Demo) -> RenderableType:
    """Ledger, latency, the ten cells with the highest forecast, and how good the forecast of the day was."""
    first, last = demo.recording.frames()
    return Group(_ledger(demo), _top_cells(last), _forecast_quality(day_hits(demo, first), first))


def day_hits(demo: Demo, beforehand: RiskFrame) -> HitRates:
    """Hit rates of the frame from before the day, measured on the day's real incidents."""
    day, grid, start_s = demo.rehearsal.plan.table, beforehand.spec.grid, beforehand.tick_s
    chosen = (day.occurred_s >= start_s) & (day.occurred_s < start_s + DAY_S)
    cell, inside = grid.locate(day.lat_deg[chosen], day.lon_deg[chosen])
    counts = np.bincount(cell[inside], minlength=grid.cells).astype(np.int32)
    return compared(beforehand, counts, area_share=_AREA_SHARE)


def compared(frame: RiskFrame, counts: npt.NDArray[np.int32], *, area_share: float) -> HitRates:
    """Hit rates of the frame's longest horizon, all categories together, in `area_share` of the active cells.

    counts: (cells,) incidents that happened in that horizon. A cell is active when its history holds an incident.
    Raises DataError when no incident happened.
    """
    total = int(counts.sum())
    if total == 0:
        raise DataError("no incident happened in the horizon: there is no hit rate")
    active = np.flatnonzero((frame.support > 0).any(axis=1))
    flagged = max(1, round(area_share * len(active)))

    def share(order_by: npt.NDArray[Any]) -> float:
        chosen = active[np.argsort(-order_by[active], kind="stable")[:flagged]]
        return float(counts[chosen].sum() / total)

    return HitRates(
        flagged_cells=flagged,
        active_cells=len(active),
        incidents=total,
        model=share(frame.expected[:, :, -1].sum(axis=1)),
        baseline=share(frame.usual[:, :, -1].sum(axis=1)),
        ideal=share(counts),
    )


def _ledger(demo: Demo) -> Table:
    recording, rehearsal = demo.recording, demo.rehearsal
    ledger = rehearsal.ledger
    sent = ", ".join(f"{count:,} {kind}" for kind, count in rehearsal.sent_by_kind.items() if count)
    table = _table("Every message has one outcome", "", "messages", "")
    table.add_row("sent", f"{sum(rehearsal.sent_by_kind.values()):,}", sent)
    table.add_row("consumed", f"{ledger['consumed']:,}", f"in {recording.batches} batches, {recording.points:,} points")
    for name, meaning in (
        ("counted", "first message about an incident"),
        ("corrected", "moved, reclassified or cancelled"),
        ("duplicate", "sent again, changed nothing"),
        ("repeated", "reports again what another call has reported"),
        ("excluded", "of an origin that feeds no score, or already in the history"),
    ):
        table.add_row(f"  {name}", f"{ledger[name]:,}", meaning)
    reasons = {name.removeprefix("rejected_"): n for name, n in sorted(ledger.items()) if name.startswith("rejected_")}
    table.add_row("  rejected", f"{ledger['rejected']:,}", ", ".join(f"{n} {name}" for name, n in reasons.items()))
    difference = ledger["consumed"] - sum(ledger[name] for name in (*OUTCOMES, "rejected"))
    table.add_row("unaccounted", f"{difference:,}", "must be 0")
    p50, p99 = np.quantile(recording.latencies_s(), [0.5, 0.99])
    table.add_row(
        "latency", f"{p50 * 1000:,.0f} ms", f"median, from sent to scored and written; 99 % within {p99 * 1000:,.0f} ms"
    )
    return table


def _top_cells(frame: RiskFrame) -> Table:
    when = local_text(frame.as_of_s, frame.spec.timezone)
    columns = ("cell", "centre", "expected", "usual", "P(any)", "last hour")
    table = _table(f"The ten cells with the highest forecast, next 4 h from {when}", *columns)
    lat, lon = frame.spec.grid.centres()
    ids = frame.spec.grid.cell_ids()
    horizon = frame.spec.horizon_names.index("4h")
    expected, usual = (a[:, :, horizon].sum(axis=1) for a in (frame.expected, frame.usual))
    risk = 1 - np.prod(1 - frame.risk[:, :, horizon].astype(np.float64), axis=1)
    for cell in np.argsort(-expected, kind="stable")[:_TOP].tolist():
        table.add_row(
            ids[cell],
            f"{lat[cell]:.4f}, {lon[cell]:.4f}",
            f"{expected[cell]:.2f}",
            f"{usual[cell]:.2f}",
            f"{risk[cell]:.0%}",
            f"{frame.observed_1h[cell].sum()}",
        )
    return table


def _forecast_quality(hits: HitRates, beforehand: RiskFrame) -> Group:
    title = f"How good the forecast for {local_text(beforehand.tick_s, beforehand.spec.timezone)[:10]} was"
    table = _table(title, "cells chosen by", "incidents inside", "share")
    for name, share in (
        ("model", hits.model),
        ("baseline", hits.baseline),
        ("hindsight (the best possible)", hits.ideal),
    ):
        table.add_row(name, f"{round(share * hits.incidents):,} of {hits.incidents:,}", f"{share:.1%}")
    lead = round((hits.model - hits.baseline) * hits.incidents)
    verdict = (
        "On this day the model chose as well as the simple baseline"
        if abs(lead) < 0.02 * hits.incidents
        else f"On this day the model's cells held {abs(lead)} incidents {'more' if lead > 0 else 'fewer'}"
    )
    note = (
        f"Each way chooses {hits.flagged_cells} cells, 5 % of the {hits.active_cells} that ever had an incident; model "
        f"and baseline chose before the day began. {verdict}. A single day proves nothing."
    )
    return Group(table, Text(note, style="dim"))


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False)
    for position, column in enumerate(columns):
        table.add_column(column, justify="right" if position and column != "" else "left")
    return table

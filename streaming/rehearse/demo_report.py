"""The summary that the demo prints at its end."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from models.counting.count_state import OUTCOMES
from models.files.incident_files import IncidentTable
from models.measures.ranking import AtShare, captured
from schemas.frame import RiskFrame
from streaming.rehearse.demo import DAY_S, Recording
from streaming.rehearse.rehearsal import Rehearsal
from streaming.rehearse.replay import local_text

_AREA_SHARE = 0.05
_TOP = 10


def report(recording: Recording, rehearsal: Rehearsal) -> RenderableType:
    """Ledger, latency, the ten cells with the highest forecast, and how good the forecast of the day was."""
    first, last = recording.frames()
    return Group(_ledger(recording, rehearsal), _top_cells(last), _forecast_quality(rehearsal.plan.table, first))


def _ledger(recording: Recording, rehearsal: Rehearsal) -> Table:
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


def _forecast_quality(day: IncidentTable, beforehand: RiskFrame) -> Group:
    """Of the frame from before the day, on the day's real incidents."""
    grid, start_s = beforehand.spec.grid, beforehand.tick_s
    chosen = (day.occurred_s >= start_s) & (day.occurred_s < start_s + DAY_S)
    cell, inside = grid.locate(day.lat_deg[chosen], day.lon_deg[chosen])
    counts = np.bincount(cell[inside], minlength=grid.cells)
    model, baseline = (hits_of(beforehand, mean, counts) for mean in (beforehand.expected, beforehand.usual))
    title = f"How good the forecast for {local_text(start_s, beforehand.spec.timezone)[:10]} was"
    table = _table(title, "cells chosen by", "incidents inside", "share")
    for name, share in (
        ("model", model.hit_rate),
        ("baseline", baseline.hit_rate),
        ("hindsight (the best possible)", model.ideal_hit_rate),
    ):
        table.add_row(name, f"{round(share * counts.sum()):,} of {counts.sum():,}", f"{share:.1%}")
    lead = round((model.hit_rate - baseline.hit_rate) * counts.sum())
    verdict = (
        "On this day the model chose as well as the simple baseline"
        if abs(lead) < 0.02 * counts.sum()
        else f"On this day the model's cells held {abs(lead)} incidents {'more' if lead > 0 else 'fewer'}"
    )
    note = (
        f"Each way chooses {model.cells} cells, 5 % of the {_active(beforehand).sum()} that ever had an incident; "
        f"model and baseline chose before the day began. {verdict}. A single day proves nothing."
    )
    return Group(table, Text(note, style="dim"))


def hits_of(frame: RiskFrame, mean: npt.NDArray[np.float32], counts: npt.NDArray[np.int64]) -> AtShare:
    """What 5 % of the cells with any history catch that `mean` puts first for the longest horizon.

    mean: (cells, categories, horizons). counts: (cells,) incidents of that horizon, also where there is no history.
    """
    active = _active(frame)
    capture = captured(mean[active, :, -1].sum(axis=1, dtype=float)[None], counts[active][None])
    return replace(capture, incidents=float(counts.sum())).at(_AREA_SHARE)


def _active(frame: RiskFrame) -> npt.NDArray[np.bool_]:
    """(cells,) whether each ever had an incident."""
    return np.asarray((frame.support > 0).any(axis=1))


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False)
    for position, column in enumerate(columns):
        table.add_column(column, justify="right" if position and column != "" else "left")
    return table

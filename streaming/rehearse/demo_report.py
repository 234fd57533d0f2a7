"""What the demo says at its end."""

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from schemas.frame import RiskFrame
from streaming.rehearse.demo import DAY_S, Demo
from streaming.rehearse.hits import HitRates, hit_rates
from streaming.rehearse.replay import local_text

_AREA_SHARE = 0.05
_TOP = 10


def report(demo: Demo) -> RenderableType:
    """The closing summary: ledger, latency, the ten highest cells, and how the forecast of the day did."""
    first, last = demo.recording.frames()
    return Group(_ledger(demo), _top_cells(last), _how_it_did(day_hits(demo, first), first), _where(demo))


def day_hits(demo: Demo, beforehand: RiskFrame) -> HitRates:
    """Hit rates of the frame that was there before the day began, against the day's real incidents."""
    start_s = beforehand.tick_s
    chosen = (demo.day.occurred_s >= start_s) & (demo.day.occurred_s < start_s + DAY_S)
    cell, inside = beforehand.spec.grid.locate(demo.day.lat_deg[chosen], demo.day.lon_deg[chosen])
    counts = np.bincount(cell[inside], minlength=beforehand.spec.grid.cells).astype(np.int32)
    return hit_rates(beforehand, counts, area_share=_AREA_SHARE)


def _ledger(demo: Demo) -> Table:
    recording, ledger = demo.recording, demo.ledger
    sent = ", ".join(f"{count:,} {kind}" for kind, count in demo.sent_by_kind.items() if count)
    table = _table("Every message has one outcome", "", "messages", "")
    table.add_row("sent", f"{sum(demo.sent_by_kind.values()):,}", sent)
    table.add_row("consumed", f"{ledger['consumed']:,}", f"in {recording.batches} batches, {recording.points:,} points")
    for name, meaning in (
        ("counted", "first sight of an incident"),
        ("corrected", "moved, reclassified or cancelled"),
        ("duplicate", "sent again, changed nothing"),
        ("excluded", "origin feeds no score, or in the history already"),
    ):
        table.add_row(f"  {name}", f"{ledger[name]:,}", meaning)
    reasons = {name.removeprefix("rejected_"): n for name, n in sorted(ledger.items()) if name.startswith("rejected_")}
    table.add_row("  rejected", f"{ledger['rejected']:,}", ", ".join(f"{n} {name}" for name, n in reasons.items()))
    difference = ledger["consumed"] - sum(
        ledger[name] for name in ("counted", "corrected", "duplicate", "excluded", "rejected")
    )
    table.add_row("unaccounted", f"{difference:,}", "must be 0")
    p50, p99 = np.quantile(recording.latencies_s(), [0.5, 0.99])
    table.add_row("latency", f"{p50 * 1000:,.0f} ms", f"p50, sent to scored and written; p99 {p99 * 1000:,.0f} ms")
    return table


def _top_cells(frame: RiskFrame) -> Table:
    when = local_text(frame.as_of_s, frame.spec.timezone)
    table = _table(
        f"Ten highest cells, next 4 h from {when}", "cell", "centre", "expected", "usual", "P(any)", "last hour"
    )
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


def _how_it_did(hits: HitRates, beforehand: RiskFrame) -> Group:
    title = f"How the forecast of {local_text(beforehand.tick_s, beforehand.spec.timezone)[:10]} did"
    table = _table(title, "cells chosen by", "incidents inside", "share")
    for name, share in (("model", hits.model), ("baseline", hits.baseline), ("hindsight (ideal)", hits.ideal)):
        table.add_row(name, f"{round(share * hits.incidents):,} of {hits.incidents:,}", f"{share:.1%}")
    lead = round((hits.model - hits.baseline) * hits.incidents)
    verdict = (
        "On this one day the network chose as well as the simple baseline"
        if abs(lead) < 0.02 * hits.incidents
        else f"On this one day the network's cells held {abs(lead)} incidents {'more' if lead > 0 else 'fewer'}"
    )
    note = (
        f"Chosen before the day began: {hits.flagged_cells} cells, 5 % of the {hits.active_cells} that ever had an "
        f"incident. {verdict}; one day decides nothing."
    )
    return Group(table, Text(note, style="dim"))


def _where(demo: Demo) -> Text:
    text = Text(f"\n{demo.seconds:.0f} s in all. Open ")
    text.append(str(demo.map_page), style="bold")
    text.append(f" for the map; the scores are in {demo.scores}.")
    return text


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False)
    for position, column in enumerate(columns):
        table.add_column(column, justify="right" if position and column != "" else "left")
    return table

"""The tables of a run under load, and what is wrong with it."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from benchmarks.drive import LEAST_MINUTES

_OUTAGE = {
    "away_s": "the scorer was away, s",
    "backlog": "events that waited at its start",
    "first_batch_began_s": "its first batch began after, s",
    "caught_up_s": "it had caught up after, s",
    "events_per_s": "events/s meanwhile",
    "longest_wait_s": "longest wait of an event, s",
}


def load_tables(results: Mapping[str, Any]) -> Iterator[Table]:
    """Latency by phase; the outage, where there was one; slopes, where simulated time was fast."""
    plan = results["plan"]
    yield _table(
        f"{plan.rate_per_s:,.0f} messages/s, sender late by {results['sender_late_p99_ms']:g} ms at p99",
        ("phase", "seconds", "events", "p50, ms", "p95, ms", "p99, ms", "max, ms"),
        [
            (name, *(f"{phase[key]:,.0f}" for key in ("seconds", "events", "p50", "p95", "p99", "max")))
            for name, phase in results["phases"].items()
        ],
    )
    if "outage" in results:
        rows = [(words, f"{results['outage'][name]:,.10g}") for name, words in _OUTAGE.items()]
        yield _table("killed and started again", ("figure", "value"), rows)
    if "growth" in results:
        yield _table(
            "least-squares lines over the last half; noise is twice the slope's standard error",
            ("quantity", "unit", "middle", "end", "slope an hour", "noise", "bound", "verdict"),
            [
                (
                    verdict.bound.words,
                    verdict.bound.unit,
                    *(f"{value:,.{verdict.bound.digits}f}" for value in (verdict.at_middle, verdict.at_end)),
                    *(
                        f"{value:+,.{verdict.bound.digits}f}"
                        for value in (verdict.slope_per_hour, verdict.noise_per_hour)
                    ),
                    f"{verdict.most_per_hour:+,.{verdict.bound.digits}f}",
                    verdict.words,
                )
                for verdict in results["growth"]
            ],
        )


def what_is_wrong(results: Mapping[str, Any]) -> list[str]:
    """Where the ledger is not what was sent, and what grew, once the run was long enough to tell."""
    verdicts = results.get("growth", ()) if results["plan"].minutes >= LEAST_MINUTES else ()
    grown = [f"{one.bound.words}: {one.words}; {one.bound.reason}" for one in verdicts if not one.is_within]
    return [*results["faults"], *grown]


def _table(title: str, headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
    table = Table(title=title)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    return table

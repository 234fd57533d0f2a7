"""The tables for people, the file for machines, and what is wrong with a run under load."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.drive import LEAST_MINUTES
from benchmarks.rivals import RIVALS

TARGETS = {
    "throughput_4_regions_eps": 180_000,
    "throughput_1_region_eps": 100_000,
    "ratio_to_plain_loop": 0.8,
    "ratio_to_pathway": 1.5,
}
_HEADINGS = ("measured", "value", "target")
_OUTAGE = {
    "away_s": "the scorer was away, s",
    "backlog": "events that waited at its start",
    "first_batch_began_s": "its first batch began after, s",
    "caught_up_s": "it had caught up after, s",
    "events_per_s": "events/s meanwhile",
    "longest_wait_s": "longest wait of an event, s",
}


def write_results(results: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results, order="sorted"), indent=2) + b"\n")


def print_results(results: dict[str, Any], console: Console) -> None:
    machine = results["machine"]
    load = machine["load_average_at_start"][0]
    table = table_of(f"{machine['cores']} cores of {machine['cpu']}, load average {load} at the start", _HEADINGS)
    table.caption = f"{results['date']}, {results['plan']} run"
    for name, words in (
        ("throughput_4_regions_eps", "4 regions, Kafka to acknowledged scores, events/s"),
        ("throughput_1_region_eps", "1 region, events/s"),
    ):
        table.add_row(words, f"{results[name]:,}", f">= {TARGETS[name]:,}")
    table.add_row("the same plan with empty stages, 4 regions, events/s", f"{results['spark_floor_eps']:,}", "")
    latency, rate = results["latency_ms"], results["latency_rate_per_s"]
    for name, target in (("p50", "<= 400"), ("p95", ""), ("p99", "<= 800")):
        table.add_row(f"latency at {rate:.0f} events/s, {name}, ms", f"{latency[name]}", target)
        floor = results["spark_floor_latency_ms"][name]
        table.add_row(f"the same plan with empty stages, {name}, ms", f"{floor}", "")
    for cells, milliseconds in results["full_frame_ms"].items():
        table.add_row(f"full frame of {cells} cells, ms", f"{milliseconds}", "<= 150" if cells == "48x48" else "")
    for rival, words in RIVALS.items():
        ratio, target = results[f"ratio_to_{rival}"], f">= {TARGETS[f'ratio_to_{rival}']}"
        if ratio is None:
            table.add_row(f"times {words}", f"none: {results[f'ratio_to_{rival}_reason'][:60]}", target)
        else:
            least, most = results[f"ratio_to_{rival}_spread"]
            eps = results[f"{rival}_eps"]
            table.add_row(f"times {words} ({eps:,} events/s), median of rounds", f"{ratio} ({least} to {most})", target)
    console.print(table)


def load_tables(results: Mapping[str, Any]) -> Iterator[Table]:
    """Latency by phase; the outage, where there was one; slopes, where simulated time was fast."""
    plan = results["plan"]
    yield table_of(
        f"{plan.rate_per_s:,.0f} messages/s, sender late by {results['sender_late_p99_ms']:g} ms at p99",
        ("phase", "seconds", "events", "p50, ms", "p95, ms", "p99, ms", "max, ms"),
        [
            (name, *(f"{phase[key]:,.0f}" for key in ("seconds", "events", "p50", "p95", "p99", "max")))
            for name, phase in results["phases"].items()
        ],
    )
    if "outage" in results:
        rows = [(words, f"{results['outage'][name]:,.10g}") for name, words in _OUTAGE.items()]
        yield table_of("killed and started again", ("figure", "value"), rows)
    if "growth" in results:
        title = "least-squares lines over the last half; noise is twice the slope's standard error"
        table = table_of(title, ("quantity", "unit", "middle", "end", "slope an hour", "noise", "bound", "verdict"))
        for verdict in results["growth"]:
            plain, signed = (f"{sign},.{verdict.bound.digits}f" for sign in ("", "+"))
            levels = (format(level, plain) for level in (verdict.at_middle, verdict.at_end))
            slopes = (verdict.slope_per_hour, verdict.noise_per_hour, verdict.most_per_hour)
            shown = (*levels, *(format(slope, signed) for slope in slopes))
            table.add_row(verdict.bound.words, verdict.bound.unit, *shown, verdict.words)
        yield table


def what_is_wrong(results: Mapping[str, Any]) -> list[str]:
    """Where the ledger is not what was sent, and what grew, once the run was long enough to tell."""
    verdicts = results.get("growth", ()) if results["plan"].minutes >= LEAST_MINUTES else ()
    grown = [verdict for verdict in verdicts if not verdict.is_within]
    return [*results["faults"], *(f"{of.bound.words}: {of.words}; {of.bound.reason}" for of in grown)]


def table_of(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]] = ()) -> Table:
    """Words stand in the first column, figures in the others."""
    table = Table(title=title)
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="right" if number else "left")
    for row in rows:
        table.add_row(*row)
    return table

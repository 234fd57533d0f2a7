"""The table for people, and the file for machines."""

from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.rivals import RIVALS

TARGETS = {
    "throughput_4_regions_eps": 180_000,
    "throughput_1_region_eps": 100_000,
    "ratio_to_plain_loop": 0.8,
    "ratio_to_pathway": 1.5,
}


def write_results(results: dict[str, Any], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(results, order="sorted"), indent=2) + b"\n")


def print_results(results: dict[str, Any], console: Console) -> None:
    machine = results["machine"]
    load = machine["load_average_at_start"][0]
    table = Table(
        title=f"{machine['cores']} cores of {machine['cpu']}, load average {load} at the start",
        caption=f"{results['date']}, {results['plan']} run",
    )
    for heading, side in (("measured", "left"), ("value", "right"), ("target", "right")):
        table.add_column(heading, justify=side)  # type: ignore[arg-type]
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

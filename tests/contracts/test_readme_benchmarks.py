"""Tables of measured times in the documents say what the kept files of their benchmarks say."""

import json
from pathlib import Path
from statistics import median

from tests.harness.readme import rows_below

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"


def test_the_readme_has_the_newest_throughput_and_latency():
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    found = json.loads((BENCHMARKS / "results.json").read_text(encoding="utf-8"))
    with_first = _with_first_batch(found)
    assert f"on {found['date'][:10]} (commit {found['commit']}). Four regions gave" in text
    assert f"about {round(found['throughput_4_regions_eps'], -3):,} events/s" in text
    assert f"{round(with_first, -3):,.0f} with the first batch, which holds a quarter of the events." in text
    assert f"From event to stored score it took {found['latency_ms']['p50'] / 1000:.2f} s" in text
    floor_s = found["spark_floor_latency_ms"]["p50"] / 1000
    assert f"median at {found['latency_rate_per_s']:,.0f} events/s; Spark alone {floor_s:.2f} s there" in text


def _with_first_batch(found: dict) -> float:
    """Events a second of the median round, with its first batch, which must hold a quarter of the events."""
    rounds = found["throughput_4_regions_rounds"]
    assert all(4 * each["warm_up_events"] == each["events"] for each in rounds)
    return median(each["total_eps"] for each in rounds)


def test_the_table_of_results_has_the_newest_figures():
    found = json.loads((BENCHMARKS / "results.json").read_text(encoding="utf-8"))
    latency, floor = found["latency_ms"], found["spark_floor_latency_ms"]
    measured = {
        "the same with the first batch": (f"{_with_first_batch(found):,.0f}", ""),
        "4 regions, events/s": (f"{found['throughput_4_regions_eps']:,}", f"{found['spark_floor_eps']:,}"),
        "1 region, events/s": (f"{found['throughput_1_region_eps']:,}", ""),
        "times the plain loop": (f"{found['ratio_to_plain_loop']:.2f}", ""),
        "times Pathway": (f"{found['ratio_to_pathway']:.2f}", ""),
        "latency p50 / p99, ms": tuple(f"{found['p50']:.0f} / {found['p99']:.0f}" for found in (latency, floor)),
        "full frame of 48x48 cells, ms": (f"{found['full_frame_ms']['48x48']:.0f}", ""),
    }
    rows = [row.split("|") for row in rows_below((BENCHMARKS / "README.md").read_text(encoding="utf-8"), "| figure |")]
    assert {row[1].strip(): (row[2].strip(), row[4].strip()) for row in rows} == measured
    page = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    assert f"Of commit {found['commit']}, measured on {found['date'][:10]} on two" in page

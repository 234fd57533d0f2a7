"""Tables of measured figures on the pages say what the kept files of their runs say."""

import json
import tomllib
from pathlib import Path
from statistics import median

import msgspec

from lifecycle.gate import GatePlan, read_plan

ROOT = Path(__file__).parents[2]
BENCHMARKS, EXPLANATION = ROOT / "benchmarks", ROOT / "docs" / "explanation"
EVALUATED = {
    "Chicago 3 km, day": "chicago-3km-daily",
    "Chicago 1 km, hour": "chicago-1km-hourly",
    "Montgomery 2 km, hour": "montgomery-2km-hourly",
}


def text_of(path):
    return path.read_text(encoding="utf-8")


def rows_below(text, heading):
    """Of the one table that begins so."""
    (table,) = text.split(f"\n{heading}")[1:]
    return table.partition("\n\n")[0].splitlines()[2:]


def measured(name):
    return json.loads(text_of(BENCHMARKS / f"{name}.json"))


def evaluation(stem):
    return json.loads(text_of(ROOT / "docs" / "evaluation" / f"{stem}.json"))


def network_of(evaluated):
    return next(row for row in evaluated["rows"] if row["kind"] == "network")


def against(compared):
    spread = f"({compared['percent_low']:+.3f}, {compared['percent_high']:+.3f})"
    return f"{compared['percent']:+.3f} % {spread}: {compared['verdict']}"


def row_of(*cells):
    return f"| {' | '.join(cells)} |".replace("|  |", "| |")


def row_of_task(task, evaluated):
    network = network_of(evaluated)
    return row_of(
        task,
        f"{network['nb_log_score']:.4f}",
        f"{network['forecast_over_actual']:.3f}",
        evaluated["best_baseline"],
        against(network["versus_best_baseline"]),
        against(network["versus_best_rule"]),
    )


def row_over_origins(task, evaluated):
    origins = evaluated["origins"]
    network = next(row for row in origins["rows"] if row["model"] == "network")
    return row_of(
        task,
        ", ".join(moment[:10] for moment in origins["judged_from"]),
        f"{network['nb_log_score']:.4f}",
        origins["best_baseline"],
        against(network["versus_best_baseline"]),
        against(network["versus_best_rule"]),
        against(network["versus_own_baseline"]),
    )


def test_the_tables_of_the_evaluation():
    page = text_of(EXPLANATION / "evaluation.md")
    results = {task: evaluation(stem) for task, stem in EVALUATED.items()}
    assert rows_below(page, "| task | network |") == [row_of_task(*each) for each in results.items()]
    assert rows_below(page, "| task | judged from |") == [row_over_origins(*each) for each in results.items()]


def test_the_table_of_delays():
    rows = []
    for days in (0, 1, 3, 7):
        evaluated = evaluation(f"chicago-3km-daily-delay-{days}" if days else "chicago-3km-daily")
        network = network_of(evaluated)
        figures = (f"{network['nb_log_score']:.4f}", f"{network['forecast_over_actual']:.3f}")
        compared = (against(network["versus_best_baseline"]), against(network["versus_best_rule"]))
        rows.append(row_of(str(days), *figures, *compared))
    assert rows_below(text_of(EXPLANATION / "evaluation.md"), "| delay, days |") == rows


def test_the_table_of_what_training_and_evaluation_cost():
    rows = [
        row_of(
            cost["command"],
            f"{cost['cells']:,}",
            f"{cost['years']:g}",
            f"{cost['incidents']:,}",
            f"{cost['seconds']:,.0f}",
            f"{cost['peak_mib'] / 1024:.1f}",
        )
        for name in ("training", "evaluation")
        for cost in measured(name)["costs"]
        if cost["years"] == 2
    ]
    assert rows_below(text_of(EXPLANATION / "evaluation.md"), "| command | cells |") == rows


def test_the_table_of_the_gate():
    """Where neighbouring days correlate."""
    rows = [
        row_of(
            f"{trial['margin']:g}",
            f"{trial['mean']:g}",
            f"{100 * trial['promoted']:.1f} %",
            f"{trial['median_day']:g}",
            f"{100 * trial['stopped']:.1f} %",
        )
        for trial in measured("gate")["gate"]
        if trial["correlation"]
    ]
    assert rows_below(text_of(ROOT / "docs" / "how-to" / "retraining.md"), "| margin | mean difference |") == rows


def test_the_plan_that_is_shipped_has_every_key_with_its_default():
    path = ROOT / "deploy" / "gate.toml"
    assert read_plan(path)[0] == GatePlan()
    assert set(tomllib.loads(path.read_text())) == set(msgspec.structs.asdict(GatePlan()))


def test_the_readme_has_the_newest_throughput_and_latency():
    text = " ".join(text_of(ROOT / "README.md").split())
    results = measured("results")
    for figure in (
        results["date"][:10],
        f"commit {results['commit']}",
        f"{round(results['throughput_4_regions_eps'], -3):,} events/s",
        f"{round(with_first_batch(results), -3):,.0f}",
        f"{results['latency_ms']['p50'] / 1000:.2f} s",
        f"{results['latency_rate_per_s']:,.0f} events/s",
        f"{results['spark_floor_latency_ms']['p50'] / 1000:.2f} s",
    ):
        assert figure in text


def with_first_batch(results):
    """Events a second of the median round, with its first batch, which must hold a quarter of the events."""
    rounds = results["throughput_4_regions_rounds"]
    assert all(4 * each["warm_up_events"] == each["events"] for each in rounds)
    return median(each["total_eps"] for each in rounds)


def test_the_table_of_results_has_the_newest_figures():
    results = measured("results")
    latency, floor = results["latency_ms"], results["spark_floor_latency_ms"]
    figures = {
        "the same with the first batch": (f"{with_first_batch(results):,.0f}", ""),
        "4 regions, events/s": (f"{results['throughput_4_regions_eps']:,}", f"{results['spark_floor_eps']:,}"),
        "1 region, events/s": (f"{results['throughput_1_region_eps']:,}", ""),
        "times the plain loop": (f"{results['ratio_to_plain_loop']:.2f}", ""),
        "times Pathway": (f"{results['ratio_to_pathway']:.2f}", ""),
        "latency p50 / p99, ms": tuple(f"{of['p50']:.0f} / {of['p99']:.0f}" for of in (latency, floor)),
        "full frame of 48x48 cells, ms": (f"{results['full_frame_ms']['48x48']:.0f}", ""),
    }
    page = text_of(EXPLANATION / "load.md")
    rows = [row.split("|") for row in rows_below(page, "| figure |")]
    assert {row[1].strip(): (row[2].strip(), row[4].strip()) for row in rows} == figures
    assert f"commit {results['commit']}" in page

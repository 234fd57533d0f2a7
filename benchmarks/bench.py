"""Throughput, latency, full frames and rivals, and the same of old and new code in turn.

`python -m benchmarks.bench FILE [--quick]` measures throughput, latency and start of its own tree once, for
`python -m benchmarks against COMMIT`. What counts there are the ratios of neighbouring runs.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from rich.table import Table

from benchmarks.load import LoadPlan, percentiles_ms, running_traffic, timed
from benchmarks.other_systems import (
    FRAME_SIDES,
    RIVALS,
    Rate,
    compared,
    measure_full_frames,
    measure_rival,
    rate_of,
)
from benchmarks.stack import (
    AGAINST,
    QUICK,
    ROOT,
    ChildError,
    Say,
    Sizes,
    Stack,
    cache_of_the_machine,
    commit_of_the_tree,
    describe_machine,
    describe_versions,
    made_at,
    need_extra,
    running_job,
    running_stack,
    table_of,
)
from benchmarks.traffic import CATEGORIES, SIDE, bench_specs, load_topic, sent_so_far, synthetic_events
from streaming.rehearse.broker import TOPIC_PARTITIONS

LATENCY_REGIONS = 2
SETTINGS = ("sink", "clock", "starting", "trigger_s", "max_events_per_batch", "top_k", "master", "shuffle_partitions")
FIGURES = {  # of `measure_once`; is more of it better?
    "throughput_eps": ("throughput, 4 regions, events/s", True),
    "p50_ms": ("latency, median, ms", False),
    "p99_ms": ("latency, 99th percentile, ms", False),
    "p99_to_floor": ("the same, times Spark with empty stages", False),
    "start_s": ("start to the first batch, s", False),
}
PROGRAMS = ("once", "bench")  # a tree's program that measures it once; older trees have the first
LEAST_ROUNDS = 3
_SENDER_LIMIT_S = 120.0
_LIMIT_S = 1800.0


def measure_all(plan: Sizes, say: Say) -> dict[str, Any]:
    """The results, ready to be written. Raises where the product fails or counts wrong; a rival may be missing."""
    results: dict[str, Any] = {**made_at(), "plan": plan.name, "machine": describe_machine()}
    say("starting Kafka and victoria-metrics")
    with running_stack(plan) as stack:
        loaded = {count: load_events(stack, count, say) for count in (4, 1)}
        settings = stack.settings(topic=loaded[4][0], specs=bench_specs(4), checkpoint="none")
        results["settings"] = {
            **settings.model_dump(mode="json", include={*SETTINGS, "driver_memory"}),
            "topic_partitions": TOPIC_PARTITIONS,
            "events": plan.events,
            "event_bytes": round(loaded[4][1], 1),
            "cells_per_region": SIDE * SIDE,
            "categories": len(CATEGORIES),
            "horizons": len(bench_specs(1)[0].horizons_s),
            "store": "victoria-metrics, /api/v2/write",
        }
        results |= _throughput(stack, loaded[4][0], loaded[1][0], say)
        say(f"latency at {plan.rate_per_s:.0f} events/s, {plan.latency_warm_up_s + plan.latency_s:.0f} s")
        results |= measure_latency(stack)
        say("the same with empty stages")
        results["spark_floor_latency_ms"] = measure_latency(stack, is_spark_alone=True)["latency_ms"]
        say(f"full frames of {', '.join(f'{side}x{side}' for side in FRAME_SIDES)} cells")
        results["full_frame_ms"] = measure_full_frames(stack)
    results["versions"] = describe_versions()
    return results


def load_events(stack: Stack, regions: int, say: Say) -> tuple[str, float]:
    """(topic, mean bytes of an event): filled before the clock starts."""
    say(f"loading {stack.plan.events:,} events of {regions} region(s)")
    topic = stack.topic(f"events-of-{regions}")
    events = synthetic_events(bench_specs(regions), stack.plan.events, seed=regions, as_of_s=int(time.time()))
    return topic, load_topic(stack.bootstrap, topic, events)


def measure_throughput(stack: Stack, name: str, *, topic: str, regions: int, is_spark_alone: bool = False) -> Rate:
    """Rate over all events of the pre-loaded topic; the first batch that has any is the warm-up."""
    specs = bench_specs(regions)
    with running_job(stack, name, topic=topic, specs=specs, is_spark_alone=is_spark_alone) as job:
        batches = [batch for batch in job.wait_until_consumed(stack.plan.events) if batch.ledger["consumed"]]
        job.stop()
    done, marks = 0, []
    for batch in batches:
        done += batch.ledger["consumed"]
        marks.append((done, batch.acknowledged_s))
    return rate_of(marks, started_s=batches[0].started_s, warm_up_events=batches[0].ledger["consumed"])


def _throughput(stack: Stack, four: str, one: str, say: Say) -> dict[str, Any]:
    """Product and rivals in turn, `rounds` times; then the empty stages and the single region."""
    ours: list[Rate] = []
    theirs: dict[str, list[Rate | str]] = {rival: [] for rival in RIVALS}
    for number in range(1, stack.plan.rounds + 1):
        say(f"throughput, 4 regions, round {number} of {stack.plan.rounds}")
        ours.append(measure_throughput(stack, f"product-{number}", topic=four, regions=4))
        for rival, words in RIVALS.items():
            say(f"the same of {words}")
            theirs[rival].append(measure_rival(rival, stack, f"{rival}-{number}", topic=four, specs=bench_specs(4)))
    say("throughput, 4 regions, empty stages")
    floor = measure_throughput(stack, "floor", topic=four, regions=4, is_spark_alone=True)
    say("throughput, 1 region")
    single = measure_throughput(stack, "single", topic=one, regions=1)
    return {
        "throughput_4_regions_eps": round(median(rate.steady_eps for rate in ours)),
        "throughput_4_regions_rounds": ours,
        "throughput_1_region_eps": round(single.steady_eps),
        "spark_floor_eps": round(floor.steady_eps),
        **{name: figure for rival in RIVALS for name, figure in compared(rival, ours, theirs[rival]).items()},
    }


def measure_latency(stack: Stack, *, is_spark_alone: bool = False) -> dict[str, Any]:
    """Percentiles in milliseconds over all events sent after the warm-up, how punctual the sender was, and the start.

    Of an event: from the time it was meant to be sent to the store's acknowledgement of its scores.
    start_s: seconds from the start of the process to the first acknowledged batch.
    """
    plan, name = stack.plan, "floor" if is_spark_alone else "product"
    topic, seconds = stack.topic(f"live-{name}"), plan.latency_warm_up_s + plan.latency_s
    load = LoadPlan(rate_per_s=plan.rate_per_s, minutes=seconds / 60)
    specs = bench_specs(LATENCY_REGIONS)
    with running_job(stack, f"latency-{name}", topic=topic, specs=specs, is_spark_alone=is_spark_alone) as job:
        job.wait_until_ready()
        start_s = job.batches()[0].acknowledged_s - job.started_s
        with running_traffic(stack, topic, load, begin_s=int(time.time()), is_mixed=False) as sender:
            sender.wait(seconds + _SENDER_LIMIT_S)
            sent = sent_so_far(sender.log)
        batches = job.wait_until_consumed(len(sent))
        job.stop()
    intended_s, latency_s = timed(sent, batches)
    is_measured = intended_s >= intended_s[0] + plan.latency_warm_up_s
    latency_ms = percentiles_ms(latency_s[is_measured])
    return {
        "latency_worst_ms": latency_ms.pop("max"),
        "latency_ms": latency_ms,
        "latency_events": int(is_measured.sum()),
        "latency_producer_late_p99_ms": round(float(np.percentile(sent[:, 3] - sent[:, 2], 99)) * 1000, 1),
        "latency_rate_per_s": plan.rate_per_s,
        "latency_warm_up_s": plan.latency_warm_up_s,
        "latency_regions": LATENCY_REGIONS,
        "start_s": round(start_s, 1),
    }


def results_table(results: Mapping[str, Any]) -> Table:
    """Each figure beside its target."""
    rate, load = f"{results['latency_rate_per_s']:.0f} events/s", results["machine"]["load_average_at_start"][0]
    latency, floor = results["latency_ms"], results["spark_floor_latency_ms"]
    rows = [
        ("4 regions, Kafka to acknowledged scores, events/s", f"{results['throughput_4_regions_eps']:,}", ">= 180,000"),
        ("1 region, events/s", f"{results['throughput_1_region_eps']:,}", ">= 100,000"),
        ("the same plan with empty stages, 4 regions, events/s", f"{results['spark_floor_eps']:,}", ""),
    ]
    for name, target in (("p50", "<= 400"), ("p95", ""), ("p99", "<= 800")):
        rows.append((f"latency at {rate}, {name}, ms", f"{latency[name]}", target))
        rows.append((f"the same plan with empty stages, {name}, ms", f"{floor[name]}", ""))
    for cells, milliseconds in results["full_frame_ms"].items():
        rows.append((f"full frame of {cells} cells, ms", f"{milliseconds}", "<= 150" if cells == "48x48" else ""))
    for (rival, words), target in zip(RIVALS.items(), (">= 0.8", ">= 1.5"), strict=True):
        if (ratio := results[f"ratio_to_{rival}"]) is None:
            rows.append((f"times {words}", f"none: {results[f'ratio_to_{rival}_reason'][:60]}", target))
        else:
            least, most = results[f"ratio_to_{rival}_spread"]
            name = f"times {words} ({results[f'{rival}_eps']:,} events/s), median of rounds"
            rows.append((name, f"{ratio} ({least} to {most})", target))
    machine = f"{results['machine']['cores']} cores of {results['machine']['cpu']}, load average {load} at the start"
    title = f"{machine}; {results['date']}, {results['plan']} run"
    return table_of(title, ("measured", "value", "target"), rows)


# Old and new code in turn


def measure_against(commit: str, *, rounds: int, quick: bool, say: Say) -> dict[str, Any]:
    """Both trees `rounds` times in turn, in processes of their own, with the packages of this environment."""
    need_extra()
    machine = describe_machine()
    runs: dict[str, list[dict[str, float]]] = {"old": [], "new": []}
    with tempfile.TemporaryDirectory(prefix="risk-against-") as name, tree_of(commit, Path(name) / "old") as old:
        for number in range(rounds):
            turn = (("old", old), ("new", ROOT)) if number % 2 == 0 else (("new", ROOT), ("old", old))
            for side, tree in turn:
                say(f"{side}, round {number + 1} of {rounds}")
                runs[side].append(_run_once(tree, Path(name) / "figures.json", quick=quick))
    return {
        "old": git("rev-parse", "--short", commit),
        "new": commit_of_the_tree(),
        "machine": machine,
        "runs": runs,
        "compared": of_rounds(runs["old"], runs["new"]),
    }


def of_rounds(old: Sequence[Mapping[str, float]], new: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """By figure: both medians, the median of the ratios new / old of the rounds, and the least and most of them."""
    figures = {}
    for name in FIGURES:
        ratios = [after[name] / before[name] for before, after in zip(old, new, strict=True)]
        figures[name] = {
            "old": median(run[name] for run in old),
            "new": median(run[name] for run in new),
            "ratio": round(median(ratios), 3),
            "least": round(min(ratios), 3),
            "most": round(max(ratios), 3),
            "rounds": len(ratios),
        }
    return figures


def verdict(name: str, figure: Mapping[str, float]) -> str:
    """Slower or faster only where every round says so, and there are three of them."""
    if figure["rounds"] < LEAST_ROUNDS:
        return "too few rounds"
    more_is_better = FIGURES[name][1]
    if figure["least"] > 1:
        return "faster" if more_is_better else "slower"
    if figure["most"] < 1:
        return "slower" if more_is_better else "faster"
    return "not told apart"


def figures_of(results: Mapping[str, Any]) -> Table:
    load = results["machine"]["load_average_at_start"][0]
    title = f"{results['new']} against {results['old']}, load average {load} at the start"
    table = table_of(title, ("figure", "old", "new", "ratio", "from to", "verdict"))
    for name, figure in results["compared"].items():
        span = f"{figure['least']:g} to {figure['most']:g}"
        values = (f"{figure['old']:,.6g}", f"{figure['new']:,.6g}", f"{figure['ratio']:g}", span)
        table.add_row(FIGURES[name][0], *values, verdict(name, figure))
    return table


def program_of(tree: Path) -> str | None:
    """The module of a tree that measures it once."""
    for name in PROGRAMS:
        path = tree / "benchmarks" / f"{name}.py"
        if path.exists() and "def measure_once" in path.read_text(encoding="utf-8"):
            return f"benchmarks.{name}"
    return None


@contextmanager
def tree_of(commit: str, folder: Path) -> Iterator[Path]:
    """The files of a commit. Raises ChildError for one that cannot measure itself once."""
    git("worktree", "add", "--detach", str(folder), commit)
    try:
        if program_of(folder) is None:
            raise ChildError(f"{commit} cannot be measured: it has no benchmarks/once.py; name a newer commit")
        yield folder
    finally:
        git("worktree", "remove", "--force", str(folder))


def git(*words: str) -> str:
    """What git says. Raises ChildError when it refuses."""
    ran = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S607
    if ran.returncode != 0:
        raise ChildError(f"git {' '.join(words)}: {ran.stderr.strip()}")
    return ran.stdout.strip()


def _run_once(tree: Path, result: Path, *, quick: bool) -> dict[str, float]:
    program = str(program_of(tree))
    ran = subprocess.run(
        [sys.executable, "-m", program, str(result), *(["--quick"] if quick else [])],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "RISK_CACHE": str(cache_of_the_machine())},
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )
    if ran.returncode != 0:
        raise ChildError(f"{program} in {tree} ended with code {ran.returncode}: {ran.stderr.strip()[-800:]}")
    figures: dict[str, float] = json.loads(result.read_text())
    return figures


def measure_once(plan: Sizes) -> dict[str, Any]:
    """Each figure once, on a stack of its own. Latencies are given beside those of Spark with empty stages."""
    with running_stack(plan) as stack:
        topic, _ = load_events(stack, 4, lambda what: None)
        rate = measure_throughput(stack, "throughput", topic=topic, regions=4)
        product, floor = measure_latency(stack), measure_latency(stack, is_spark_alone=True)
    return {
        "throughput_eps": round(rate.steady_eps),
        "p50_ms": product["latency_ms"]["p50"],
        "p99_ms": product["latency_ms"]["p99"],
        "p99_to_floor": round(product["latency_ms"]["p99"] / floor["latency_ms"]["p99"], 3),
        "start_s": product["start_s"],
    }


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that broker and store are ended
    Path(sys.argv[1]).write_text(json.dumps(measure_once(QUICK if "--quick" in sys.argv else AGAINST)))

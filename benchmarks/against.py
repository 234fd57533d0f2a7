"""Old and new code in turn: `python -m benchmarks against COMMIT`. What counts are the ratios of neighbouring runs."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from rich.table import Table

from benchmarks.child import ROOT, ChildError
from benchmarks.drive import Say
from benchmarks.machine import commit_of_the_tree, describe_machine
from benchmarks.report import table_of
from streaming.settings import Settings

FIGURES = {  # by what `benchmarks.once` gives; is more of it better?
    "throughput_eps": ("throughput, 4 regions, events/s", True),
    "p50_ms": ("latency, median, ms", False),
    "p99_ms": ("latency, 99th percentile, ms", False),
    "p99_to_floor": ("the same, times Spark with empty stages", False),
    "start_s": ("start to the first batch, s", False),
}
LEAST_ROUNDS = 3
_LIMIT_S = 1800.0


def measure_against(commit: str, *, rounds: int, quick: bool, say: Say) -> dict[str, Any]:
    """Both trees `rounds` times in turn, in processes of their own, with the packages of this environment."""
    machine = describe_machine()
    runs: dict[str, list[dict[str, float]]] = {"old": [], "new": []}
    with tempfile.TemporaryDirectory(prefix="risk-against-") as name, tree_of(commit, Path(name) / "old") as old:
        for number in range(rounds):
            turn = (("old", old), ("new", ROOT)) if number % 2 == 0 else (("new", ROOT), ("old", old))
            for side, tree in turn:
                say(f"{side}, round {number + 1} of {rounds}")
                runs[side].append(_once(tree, Path(name) / "figures.json", quick=quick))
    return {
        "old": git("rev-parse", "--short", commit),
        "new": commit_of_the_tree(),
        "machine": machine,
        "runs": runs,
        "compared": compared(runs["old"], runs["new"]),
    }


def compared(old: Sequence[Mapping[str, float]], new: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
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


@contextmanager
def tree_of(commit: str, folder: Path) -> Iterator[Path]:
    """The files of a commit. Raises ChildError for one that has no `benchmarks.once`."""
    git("worktree", "add", "--detach", str(folder), commit)
    try:
        if not (folder / "benchmarks" / "once.py").exists():
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


def _once(tree: Path, result: Path, *, quick: bool) -> dict[str, float]:
    cache = Settings.from_environment({name: os.environ[name] for name in ("RISK_CACHE",) if name in os.environ}).cache
    ran = subprocess.run(
        [sys.executable, "-m", "benchmarks.once", str(result), *(["--quick"] if quick else [])],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "RISK_CACHE": str(cache.expanduser().absolute())},
        capture_output=True,
        text=True,
        timeout=_LIMIT_S,
        check=False,
    )
    if ran.returncode != 0:
        raise ChildError(f"benchmarks.once in {tree} ended with code {ran.returncode}: {ran.stderr.strip()[-800:]}")
    figures: dict[str, float] = json.loads(result.read_text())
    return figures

"""`python -m benchmarks.soak` runs the job for half an hour and says whether anything in it grows.

Counts are remembered for days, so a job is only in balance once as much time has passed. Simulated time is fast enough
for that: incidents are forgotten after a minute (48 h), hours after seven and a half (15 days).
"""

import csv
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from benchmarks.child import ROOT, ChildError
from benchmarks.soak_figures import BOUNDS, judge, ledger_faults
from benchmarks.soak_plot import write_plot
from benchmarks.soak_report import soak_page
from benchmarks.soak_run import Scenario, run_soak
from schemas.errors import RiskError

OUT = ROOT / "out" / "soak"
DOCS = ROOT / "docs" / "explanation"
LEAST_MINUTES = 30  # in a shorter run state still fills up, so its slopes say little


def write_samples(rows: list[dict[str, float]], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: f"{value:.10g}" for name, value in row.items()} for row in rows)


def soak(
    minutes: Annotated[float, typer.Option(min=1)] = 30.0,
    rate: Annotated[float, typer.Option(min=10, help="Events per second")] = 2000.0,
    docs: Annotated[
        bool, typer.Option(help="After 30 minutes or more, renew docs/explanation/soak.md and its picture")
    ] = True,
) -> None:
    """Exit code 1 unless every quantity is shown to stay within its bound and the ledger is what was sent."""
    console = Console()
    start_s = time.monotonic()

    def say(what: str) -> None:
        console.print(f"[dim]{time.monotonic() - start_s:5.0f} s  {what}[/dim]", highlight=False, soft_wrap=True)

    results = run_soak(Scenario(seconds=minutes * 60, rate_per_s=rate), say)
    write_samples(results["rows"], OUT / "samples.csv")
    samples = {name: np.array([row[name] for row in results["rows"]]) for name in results["rows"][0]}
    verdicts = judge(samples, BOUNDS, from_s=minutes * 30)
    faults = ledger_faults(results["ledger"], results["expected"])
    write_plot(samples, verdicts, OUT / "soak.png", from_s=minutes * 30, changes_s=results["scenario"].changes_s)
    page = soak_page(results, samples, verdicts, faults)
    (OUT / "soak.md").write_text(page, encoding="utf-8")
    if docs and minutes >= LEAST_MINUTES:
        for name in ("soak.png", "soak.md"):
            shutil.copy(OUT / name, DOCS / name)
    console.print(page, markup=False, highlight=False, soft_wrap=True)
    if faults or not all(verdict.is_within for verdict in verdicts):
        raise typer.Exit(1)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that broker and store are ended
    try:
        typer.run(soak)
    except (RiskError, ChildError) as error:
        Console(stderr=True).print(f"error: {error}", markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)

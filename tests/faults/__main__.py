"""`python -m tests.faults`: run the matrix of faults and seeded scenarios, keep their results, and show them."""

import io
import json
import tempfile
from collections import defaultdict
from contextlib import redirect_stdout
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import pytest
import typer
from rich.console import Console

from benchmarks.stack import commit_of_the_tree
from streaming.settings import Settings
from tests.faults.matrix import FAULTS
from tests.faults.report import (
    FAULT_BY_ID,
    broken_in,
    lines_of_faults,
    lines_of_seeds,
    page_of,
    results_of,
    run_file,
    text_of,
)
from tests.faults.run import broker_to_break, run_scenario
from tests.faults.scenario import GENERATOR, generate

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)
console = Console(highlight=False, soft_wrap=True)
CACHE = Settings().cache
MATRIX = Path("out/faults/matrix.xml")
RESULTS = Path("tests/faults/seeds.jsonl")  # kept: 200 of them take hours on a small machine
KEPT = Path("tests/faults/matrix.json")
DOCUMENT = Path("docs/explanation/reliability.md")


@app.command()
def seeds(
    wanted: Annotated[str, typer.Argument(help="Seeds: `7`, or `0-9`")],
    cache: Annotated[Path, typer.Option(envvar="RISK_CACHE", help="Where the broker's jars are")] = CACHE,
) -> None:
    """Make, print and run scenarios, and check every invariant after each. Exit code 1 when one is broken."""
    first, _, last = wanted.partition("-")
    failures, commit = 0, commit_of_the_tree()
    with tempfile.TemporaryDirectory(prefix="faults-") as name, broker_to_break(Path(name, "broker"), cache) as broker:
        for seed in range(int(first), int(last or first) + 1):
            scenario = generate(seed)
            console.print(str(scenario))
            outcome = run_scenario(scenario, Path(tempfile.mkdtemp(dir=name)), broker)
            worst = max((seconds for _, seconds in outcome.recoveries), default=0.0)
            console.print(
                f"  {'BROKEN' if outcome.broken else 'holds'}: {outcome.messages} messages, {outcome.starts} starts, "
                f"exits {list(outcome.exits)}, slowest recovery {worst:.0f} s, {outcome.seconds:.0f} s in all"
            )
            for sentence in outcome.broken:
                console.print(f"    {sentence}")
            with RESULTS.open("a", encoding="utf-8") as file:
                line = {"seed": seed, "generator": GENERATOR, "at": now(), "commit": commit, **vars(outcome)}
                file.write(json.dumps(line) + "\n")
            failures += bool(outcome.broken)
    if failures:
        raise typer.Exit(1)


class Marked:
    """A plugin of pytest. tests: fault -> the node ids of the tests that carry its mark; of one fault, if it is given.

    Tests of other faults alone do not run then.
    """

    def __init__(self, fault=""):
        self.fault, self.tests = fault, defaultdict(list)

    def faults_of(self, item):
        faults = {fault for mark in item.iter_markers("fault") for fault in mark.args}
        return faults & {self.fault} if self.fault else faults

    def pytest_collection_modifyitems(self, items):
        if self.fault:
            items[:] = [item for item in items if self.faults_of(item)]

    def pytest_collection_finish(self, session):
        for item in session.items:
            for fault in self.faults_of(item):
                self.tests[fault].append(item.nodeid)


def run_marked(*options, fault=""):
    """Run pytest over all tests with a mark, or with that of one fault: (its exit code, the tests by their fault)."""
    texts = ((path, path.read_text("utf-8")) for path in sorted(Path("tests").rglob("test_*.py")))
    files = [str(path) for path, text in texts if "mark.fault(" in text and fault in text]
    marked = Marked(fault)
    code = pytest.main([*files, "-m", "fault", *options], plugins=[marked])
    return int(code), dict(sorted(marked.tests.items()))


def now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M}"


@app.command()
def matrix(
    fault: Annotated[str, typer.Argument(help="Run the tests of this one alone, such as `F46`")] = "",
    result: Annotated[Path, typer.Option(help="pytest's JUnit file")] = MATRIX,
) -> None:
    """Run every test that plays a fault. The table shows what failed; the exit code is pytest's."""
    if fault and fault not in FAULT_BY_ID:
        raise typer.BadParameter(f"{fault} is no fault of tests/faults/matrix.py: add its entry first")
    noted = {"at": now(), "commit": commit_of_the_tree()} | ({"fault": fault} if fault else {})
    for path in (result, run_file(result)):
        path.unlink(missing_ok=True)
    code, tests = run_marked("-q", f"--junitxml={result}", fault=fault)
    run_file(result).write_text(json.dumps({**noted, "exit_code": code, "tests": tests}), encoding="utf-8")
    raise typer.Exit(code)


@app.command("list")
def list_tests() -> None:
    """Print each fault, what is injected and must hold, and the tests that play it, as JSON."""
    with redirect_stdout(io.StringIO()) as printed:
        code, tests = run_marked("--collect-only", "-q", "--assert=plain", "-p", "no:unraisableexception")
    if code:
        console.print(printed.getvalue(), markup=False)
        raise typer.Exit(code)
    faults = [{**asdict(fault), "tests": tests.pop(fault.id, [])} for fault in FAULTS]
    console.print_json(data={"faults": faults, "unknown": tests})


@app.command()
def report(
    result: Annotated[list[Path], typer.Option(help="What `matrix` has written; may be given again")] = [MATRIX],  # noqa: B006
) -> None:
    """Keep the outcome of each fault and write the page. Exit code 1 when a fault broke something or was not tried.

    A fault that ran alone replaces its own outcome; those of the others stay.
    """
    found = results_of(result, json.loads(KEPT.read_text(encoding="utf-8")))
    KEPT.write_text(text_of(found), encoding="utf-8")
    DOCUMENT.write_text(page_of(found, lines_in(RESULTS)), encoding="utf-8")
    if broke := broken_in(found):
        console.print(f"broken or not tried: {', '.join(broke)}")
        raise typer.Exit(1)


@app.command()
def show() -> None:
    """Print each fault of the matrix with its outcome, and what all seeded scenarios showed."""
    for line in (
        *lines_of_faults(json.loads(KEPT.read_text(encoding="utf-8"))),
        "",
        *lines_of_seeds(lines_in(RESULTS)),
    ):
        console.print(line, markup=False)


def lines_in(results: Path) -> list[dict]:
    return [json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()] if results.exists() else []


if __name__ == "__main__":
    app()

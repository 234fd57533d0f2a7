"""`python -m tests.faults`: run the faults of the matrix and seeded scenarios, keep their results, and show them.

Kept are the outcome of each fault (matrix.json), each run of a seed (seeds.jsonl), and the page that both give.
"""

import io
import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from statistics import median
from textwrap import fill
from typing import Annotated
from xml.etree import ElementTree

import pytest
import typer
from rich.console import Console

from benchmarks.stack import commit_of_the_tree
from streaming.settings import Settings
from tests.faults.matrix import FAULTS, INVARIANTS, RECOVERY_LIMIT_S, shown_by
from tests.faults.scenario import GENERATOR, generate
from tests.faults.world import BrokerToBreak, run_scenario

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, no_args_is_help=True)
console = Console(highlight=False, soft_wrap=True)
CACHE = Settings().cache
JUNIT = Path("out/faults/matrix.xml")
OUTCOMES = Path("tests/faults/matrix.json")
SEED_RUNS = Path("tests/faults/seeds.jsonl")  # kept: 200 of them take hours on a small machine
PAGE, PAGE_TEXT = Path("docs/explanation/reliability.md"), Path(__file__).with_name("reliability.txt")
SCENARIOS = "tests/faults/test_scenarios.py"  # names no fault: it plays what the matrix says
ASKED_SEEDS = range(200)
FAULT_BY_ID = {fault.id: fault for fault in FAULTS}
HELD, IN_PART, BROKEN, SKIPPED, NOT_RUN = KINDS_OF_OUTCOME = ("held", "held in part", "broken", "skipped", "not run")


@app.command()
def seeds(
    wanted: Annotated[str, typer.Argument(help="Seeds: `7`, or `0-9`")],
    cache: Annotated[Path, typer.Option(envvar="RISK_CACHE", help="Where the broker's jars are")] = CACHE,
) -> None:
    """Make, print and run scenarios, and check every invariant after each. Exit code 1 when one is broken."""
    first, _, last = wanted.partition("-")
    failures, commit = 0, commit_of_the_tree()
    with tempfile.TemporaryDirectory(prefix="faults-") as name, BrokerToBreak(Path(name, "broker"), cache) as broker:
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
            with SEED_RUNS.open("a", encoding="utf-8") as file:
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
    texts = ((str(path), path.read_text("utf-8")) for path in sorted(Path("tests").rglob("test_*.py")))
    files = [path for path, text in texts if "mark.fault(" in text and (fault in text or path == SCENARIOS)]
    marked = Marked(fault)
    code = pytest.main([*files, "-m", "fault", *options], plugins=[marked])
    return int(code), dict(sorted(marked.tests.items()))


def now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M}"


@app.command()
def matrix(
    fault: Annotated[str, typer.Argument(help="Run the tests of this one alone, such as `F46`")] = "",
) -> None:
    """Run every test that plays a fault. The table shows what failed; the exit code is pytest's."""
    if fault and fault not in FAULT_BY_ID:
        raise typer.BadParameter(f"{fault} is no fault of tests/faults/matrix.py: add its entry first")
    run = {"at": now(), "commit": commit_of_the_tree()} | ({"fault": fault} if fault else {})
    for path in (JUNIT, run_file(JUNIT)):
        path.unlink(missing_ok=True)
    code, tests = run_marked("-q", f"--junitxml={JUNIT}", fault=fault)
    run_file(JUNIT).write_text(json.dumps({**run, "exit_code": code, "tests": tests}), encoding="utf-8")
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
def report() -> None:
    """Keep the outcome of each fault and write the page. Exit code 1 when a fault broke something or was not tried.

    A fault that ran alone replaces its own outcome; those of the others stay.
    """
    results = results_of(JUNIT, json.loads(OUTCOMES.read_text(encoding="utf-8")))
    OUTCOMES.write_text(text_of(results), encoding="utf-8")
    PAGE.write_text(page_of(results, seed_runs()), encoding="utf-8")
    if broken := broken_in(results):
        console.print(f"broken or not tried: {', '.join(broken)}")
        raise typer.Exit(1)


@app.command()
def show() -> None:
    """Print each fault of the matrix with its outcome, and what all seeded scenarios showed."""
    results = json.loads(OUTCOMES.read_text(encoding="utf-8"))
    for line in (*lines_of_faults(results), "", *lines_of_seeds(seed_runs())):
        console.print(line, markup=False)


def seed_runs() -> list[dict]:
    return [json.loads(line) for line in SEED_RUNS.read_text(encoding="utf-8").splitlines()]


def run_file(junit: Path) -> Path:
    """Where `matrix` notes of a JUnit file: when, on which commit, and the tests of each fault."""
    return junit.with_suffix(".json")


def results_of(junit: Path, before: dict) -> dict:
    """The outcome of each fault. junit: the file of a run, which may be absent if it could not begin.

    before: the results until now. After a run of one fault, or without any, those of the others stay.
    """
    cases = {
        f"{case.get('classname').replace('.', '/')}.py::{case.get('name')}": case
        for case in (ElementTree.parse(junit).iter("testcase") if junit.exists() else ())  # noqa: S314 - our own file
        if case.get("classname")  # one that was interrupted has none
    }
    runs = [json.loads(path.read_text(encoding="utf-8")) for path in (run_file(junit),) if path.exists()]
    tests = {fault: nodes for run in runs for fault, nodes in run.pop("tests").items()}
    faults = {fault: ran_of(tests.get(fault, ()), cases) for fault in FAULT_BY_ID}
    if all("fault" in run for run in runs):
        alone = {run["fault"] for run in runs}
        runs = [run for run in before["runs"] if run.get("fault") not in alone] + runs
        faults |= {name: ran for name, ran in before["faults"].items() if name in faults and name not in alone}
    return {"runs": runs, "faults": faults}


def ran_of(tests: Sequence[str], cases: dict) -> dict:
    """What became of a fault's tests. passed: how many, by what they run on (`real`, `part` or `pure`).

    missing: those that this run did not have. recovery_s: the longest; None where none is told.
    """
    passed, failed, skipped, recoveries = Counter(), [], [], []
    for test in (test for test in tests if test in cases):
        case = cases[test]
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(case.get("name"))
        elif (skip := case.find("skipped")) is not None:
            skipped.append(skip.get("message", "skipped"))
        else:
            passed[shown_by(test)] += 1
        properties = (each for each in case.iter("property") if each.get("name") == "recovery_s")
        recoveries += [float(each.get("value")) for each in properties]
    missing, recovery_s = [test for test in tests if test not in cases], max(recoveries, default=None)
    if failed or (recovery_s or 0.0) > RECOVERY_LIMIT_S:
        outcome = BROKEN
    elif passed:
        outcome = IN_PART if skipped or missing else HELD
    else:
        outcome = SKIPPED if skipped else NOT_RUN
    ran = {"outcome": outcome, "passed": passed, "failed": failed, "skipped": skipped, "missing": missing}
    return {**ran, "recovery_s": recovery_s}


def text_of(results: dict) -> str:
    """JSON with a line for each fault."""
    faults = ",\n".join(f"  {json.dumps(name)}: {json.dumps(fault)}" for name, fault in results["faults"].items())
    return f'{{"runs": {json.dumps(results["runs"])},\n "faults": {{\n{faults}\n }}}}\n'


def broken_in(results: dict) -> list[str]:
    """Faults that broke something. A fault of which no test was even selected counts, unless it cannot be injected."""
    return [
        name
        for name, fault in results["faults"].items()
        if fault["outcome"] in (BROKEN, NOT_RUN) and not FAULT_BY_ID[name].not_run
    ]


def page_of(results: dict, seed_lines: Sequence[dict]) -> str:
    """docs/explanation/reliability.md. seed_lines: of seeds.jsonl, in the order in which they ran."""
    counts = []  # of faults by outcome; those that did not simply hold are named
    for outcome in KINDS_OF_OUTCOME:
        names = [name for name, fault in results["faults"].items() if fault["outcome"] == outcome]
        counts.append(f"{len(names)} {outcome}" + (f" ({', '.join(names)})" if names and outcome != HELD else ""))
    counted = f"Of {len(results['faults'])} faults: {'; '.join(counts)}."
    return (
        PAGE_TEXT.read_text(encoding="utf-8")
        .partition("-->\n")[2]
        .format(
            counted=wrapped(f"{counted} {sentences_of_runs(results)}"),
            limit=RECOVERY_LIMIT_S,
            invariants="\n".join(wrapped(f"- **{name}**: {meaning}") for name, meaning in INVARIANTS.items()),
            seeds="\n\n".join(map(wrapped, summary(seed_lines))),
            recoveries=recovery_table(newest_of_seeds(seed_lines)),
        )
    )


def wrapped(line: str) -> str:
    """Markdown in lines of the pages' width."""
    indent = "  " * line.startswith("- ")
    return fill(line, 119, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def sentences_of_runs(results: dict) -> str:
    return " ".join(
        f"{run.get('fault', 'These tests')} ran on {run['at']} on commit {run['commit']}; "
        f"pytest ended with exit code {run['exit_code']}."
        for run in results["runs"]
    )


def lines_of_faults(results: dict) -> Iterator[str]:
    """Each fault in words: what is injected, what must hold, and what the newest run of its tests showed."""
    yield sentences_of_runs(results)
    for name, ran in results["faults"].items():
        fault, words = FAULT_BY_ID[name], [ran["outcome"]]
        words += [f"{kind} {ran['passed'][kind]}" for kind in ("real", "part", "pure") if kind in ran["passed"]]
        words += [f"failed: {', '.join(ran['failed'])}"] * bool(ran["failed"])
        words += [f"{len(ran['skipped'])} skipped: {'; '.join(sorted(set(ran['skipped'])))}"] * bool(ran["skipped"])
        words += [f"{len(ran['missing'])} tests did not run"] * bool(ran["missing"])
        if ran["recovery_s"] is not None:
            words.append(f"recovered after {ran['recovery_s']:.0f} s")
        yield f"\n{name}  {fault.what}: {', '.join(words)}"
        if fault.not_run:
            yield f"     why: {fault.not_run}"
        yield f"     injected: {fault.injected}"
        yield f"     must hold: {fault.holds}"


def newest_of_seeds(lines: Sequence[dict]) -> list[dict]:
    """The newest run of each seed, by seed."""
    newest = {line["seed"]: line for line in lines}
    return [newest[seed] for seed in sorted(newest)]


def summary(lines: Sequence[dict]) -> tuple[str, str]:
    """Two paragraphs: of all runs, and of the newest run of each seed."""
    runs = newest_of_seeds(lines)
    never = spans(sorted(set(ASKED_SEEDS) - {line["seed"] for line in runs}))
    made = Counter(line.get("generator", 1) for line in runs)
    of_generators = ", ".join(f"{made[number]} of {number}" for number in range(1, GENERATOR + 1))
    commits = {commit for line in runs if (commit := line.get("commit"))}
    days = sorted(line["at"].partition(" ")[0] for line in runs) or ["never"]
    return (
        f"{len(lines)} runs of {len(runs)} seeds; **{sum(bool(line['broken']) for line in lines)} runs broke "
        f"something**. Of the seeds {ASKED_SEEDS[0]}-{ASKED_SEEDS[-1]}, never run: {never or 'none'}.",
        f"The newest run of each seed: {sum(not line['broken'] for line in runs)} of {len(runs)} broke nothing. "
        f"They are not one run: they are of {len(commits)} commits, from {days[0]} to "
        f"{days[-1]}. By generator (the newest is {GENERATOR}): {of_generators}.",
    )


def spans(numbers: Sequence[int]) -> str:
    """`1-3, 7` of 1, 2, 3, 7."""
    runs = [[number for _, number in run] for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])]
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def recovery_table(runs: Sequence[dict]) -> str:
    """Seconds from the end of a fault until all that had been sent was in the store, in Markdown."""
    recoveries = defaultdict(list)
    for line in runs:
        for what, seconds in line["recoveries"]:
            recoveries[what].append(seconds)
    rows = (
        f"| {what} | {len(seconds)} | {median(seconds):.0f} | {max(seconds):.0f} |"
        for what, seconds in sorted(recoveries.items())
    )
    return "\n".join(("| after | times | median s | slowest s |", "| --- | --- | --- | --- |", *rows))


def lines_of_seeds(lines: Sequence[dict]) -> Iterator[str]:
    """All of it, for a terminal."""
    runs = newest_of_seeds(lines)
    holds = {line["seed"] for line in runs if not line["broken"]}
    yield from (*summary(lines), "", recovery_table(runs), "")
    for line in lines:
        if line["broken"]:
            later = "held when it ran again" if line["seed"] in holds else "its newest run is broken, too"
            yield f"seed {line['seed']} ({line['at']}): {line['broken'][0].splitlines()[0]} ({later})"


if __name__ == "__main__":
    app()

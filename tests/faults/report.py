"""docs/reliability.md from what was run: pytest's JUnit file of the matrix, and the lines that `seeds` adds."""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from xml.etree import ElementTree

from tests.faults.invariants import RECOVERY_LIMIT_S
from tests.faults.matrix import FAULTS, INVARIANTS

FOUND = Path(__file__).with_name("found.md")
HEAD = """# Reliability: what was broken on purpose, and what came of it

Written by `make faults`; do not edit. The faults run against the real thing: a Kafka broker, the job in a process of
its own with its JVM and Python workers, and a store over HTTP behind a proxy that cuts, delays, throttles and
half-sends. What must be in the store is recounted from the topic by
[tests/faults/oracle.py](../tests/faults/oracle.py), which follows the event contract literally and shares no code with
the product. The machine has two shared cores, so recovery times are those of a busy machine; they contain the start of
Python, Spark and the model.

## Invariants

{invariants}

## Faults

`recovery`: seconds from the end of the fault until everything that had been sent was in the store (the slowest of the
fault's tests, where it is measured). Limit: {limit:.0f} s.

{faults}

{not_run}
"""
SEEDS = """## Seeded scenarios

From one seed comes a whole list of actions (load, corrections, cancellations, repeats, rubbish, SIGKILL at a mark,
broker and store faults, a new region, more partitions, a swapped artifact); it is printed, run, and judged by the same
recount. `python -m tests.faults seeds 17 --shorten` runs one again and leaves out what it does not need to fail. Every
run is a line of [reliability-seeds.jsonl](reliability-seeds.jsonl), with its day and commit; the newest of each seed
counts here.

{summary}

{actions}

{failures}
{found}"""


@dataclass
class Ran:
    """Outcomes of a fault's tests."""

    passed: int = 0
    failed: list = field(default_factory=list)
    skipped: list = field(default_factory=list)
    missing: list = field(default_factory=list)  # tests of the fault that this run did not have
    recovery_s: float | None = None

    def add(self, case):
        name = case.get("name")
        if case.find("failure") is not None or case.find("error") is not None:
            self.failed.append(name)
        elif (skip := case.find("skipped")) is not None:
            self.skipped.append(skip.get("message", "skipped"))
        else:
            self.passed += 1
        for one in case.iter("property"):
            if one.get("name") == "recovery_s":
                self.recovery_s = max(self.recovery_s or 0.0, float(one.get("value")))

    @property
    def verdict(self):
        if self.failed:
            return f"**broken**: {', '.join(self.failed)}"
        if not self.passed:
            return f"not run: {'; '.join(sorted(set(self.skipped))) or 'no test was selected'}"
        words = [f"held in {self.passed} test{'s' if self.passed > 1 else ''}"]
        words += [f"{len(self.skipped)} skipped"] if self.skipped else []
        words += [f"{len(self.missing)} more not run this time"] if self.missing else []
        return ", ".join(words)


def node_of(case):
    """`path::name` of a JUnit case."""
    path = case.get("classname").replace(".", "/") + ".py"
    return f"{path}::{case.get('name')}"


def ran_of(fault, cases):
    """A test without brackets counts with all its parameters; a path alone counts whole."""
    ran = Ran()
    for test in fault.tests:
        found = [case for node, case in cases.items() if node == test or node.startswith((f"{test}[", f"{test}::"))]
        for case in found:
            ran.add(case)
        if not found:
            ran.missing.append(test)
    return ran


def write_report(matrix: Sequence[Path], results: Path, document: Path) -> None:
    """`matrix`: JUnit files, later ones count for tests that are in several."""
    cases = {
        node_of(case): case
        for path in matrix
        for case in ElementTree.parse(path).iter("testcase")  # noqa: S314 - our own files
        if case.get("classname")  # one that was interrupted has none
    }
    rows, not_run = [], []
    for fault in FAULTS:
        if fault.not_run:
            not_run.append(f"- {fault.id}, {fault.what}: {fault.not_run}.")
            continue
        ran = ran_of(fault, cases)
        recovery = "" if ran.recovery_s is None else f"{ran.recovery_s:.0f}"
        rows.append(f"| {fault.id} | {fault.what} | {fault.injected} | {fault.holds} | {ran.verdict} | {recovery} |")
    text = HEAD.format(
        limit=RECOVERY_LIMIT_S,
        invariants="\n".join(f"- **{name}** {meaning}" for name, meaning in INVARIANTS.items()),
        faults="\n".join(
            ["| id | fault | injected | must hold | seen | recovery |", "| --- | --- | --- | --- | --- | --- |", *rows]
        ),
        not_run="Not run:\n\n" + "\n".join(not_run),
    )
    if results.exists():
        text += "\n" + _seeds([json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()])
    document.parent.mkdir(exist_ok=True)
    document.write_text(text, encoding="utf-8")


def _seeds(lines):
    newest = {line["seed"]: line for line in lines}
    runs = sorted(newest.values(), key=lambda line: line["seed"])
    recoveries = defaultdict(list)
    for line in runs:
        for what, seconds in line["recoveries"]:
            recoveries[what].append(seconds)
    failed = [line for line in runs if line["broken"]]
    mended = [line for line in lines if line["broken"] and not newest[line["seed"]]["broken"]]
    exits = Counter(code for line in runs for code in line["exits"])
    summary = (
        f"{len(runs)} seeds, {len(runs) - len(failed)} of them without a broken invariant; "
        f"{sum(line['messages'] for line in runs):,} messages, {sum(line['starts'] for line in runs)} starts of the "
        "job. "
        "The job ended by itself "
        + (", ".join(f"{count} times with code {code}" for code, count in sorted(exits.items())) or "never")
        + " (a store that stays away longer than a write may take, for one) and was started again, as a supervisor "
        "does."
    )
    actions = ["| after | times | median s | slowest s |", "| --- | --- | --- | --- |"]
    actions += [
        f"| {what} | {len(seconds)} | {median(seconds):.0f} | {max(seconds):.0f} |"
        for what, seconds in sorted(recoveries.items())
    ]
    return SEEDS.format(
        summary=summary,
        actions="\n".join(actions),
        failures=_listed("Broken:", failed) + _listed("Broken once, and held when run again:", mended),
        found=FOUND.read_text(encoding="utf-8"),
    )


def _listed(title, lines):
    rows = [f"- seed {line['seed']} ({line['at']}): {line['broken'][0].splitlines()[0]}" for line in lines]
    return "\n".join([title, "", *rows, "", ""]) if rows else ""

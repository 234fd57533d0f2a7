"""docs/reliability.md from what was run: pytest's JUnit file of the matrix, and the lines that `seeds` adds."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

from tests.faults.matrix import FAULTS
from tests.faults.promises import INVARIANTS, RECOVERY_LIMIT_S, shown_by
from tests.faults.report_seeds import seeds_section

HEAD = """# Reliability: what was broken on purpose, and what came of it

Written by `make faults`; do not edit. Most faults run against the real thing: a Kafka broker, the job in a process of
its own with its JVM and Python workers, and a store over HTTP behind a proxy that cuts, delays, throttles and
half-sends. What must be in the store is recounted from the topic, batch by batch, by
[tests/faults/oracle.py](../tests/faults/oracle.py), which follows the event contract literally and shares no code with
the product; that it finds what is wrong is tried with stores that are wrong on purpose
([tests/faults/test_oracle.py](../tests/faults/test_oracle.py)). Only I6 compares with our own code: a calm pass without
Spark, which alone knows what the network makes of the features. The machine has two shared cores, so recovery times are
those of a busy machine; they contain the start of Python, Spark and the model.

{counted}

## Invariants

{invariants}

## Faults

`shown by`: how many tests, and on what. *real*: the whole job in processes of its own, on a real broker. *part*: a
real part of it, as Spark without Kafka, a broker without the job, or our client against a stub of the store. *pure*:
functions. `recovery`: seconds from the end of the fault until everything that had been sent was in the store (the
slowest of the fault's tests, where it is measured). Limit: {limit:.0f} s. A backlog is work, not recovery: what ten
minutes without the scorer take stands in [load.md](load.md), and whether anything grows in half an hour in
[soak.md](soak.md).

{ran}

{faults}

{not_run}
"""

# What came of a fault
HELD, IN_PART, BROKEN, SKIPPED, NOT_RUN = OUTCOMES = ("held", "held in part", "broken", "skipped", "not run")
COLUMNS = "| id | fault | injected | must hold | seen | shown by | recovery |"


@dataclass
class Ran:
    """Outcomes of a fault's tests. passed: by what they show it."""

    passed: Counter = field(default_factory=Counter)
    failed: list = field(default_factory=list)
    skipped: list = field(default_factory=list)
    missing: list = field(default_factory=list)  # tests of the fault that this run did not have
    recovery_s: float | None = None

    def add(self, node, case):
        name = case.get("name")
        if case.find("failure") is not None or case.find("error") is not None:
            self.failed.append(name)
        elif (skip := case.find("skipped")) is not None:
            self.skipped.append(skip.get("message", "skipped"))
        else:
            self.passed[shown_by(node)] += 1
        for one in case.iter("property"):
            if one.get("name") == "recovery_s":
                self.recovery_s = max(self.recovery_s or 0.0, float(one.get("value")))

    @property
    def outcome(self):
        if self.failed or (self.recovery_s or 0.0) > RECOVERY_LIMIT_S:
            return BROKEN
        if self.passed:
            return IN_PART if self.skipped or self.missing else HELD
        return SKIPPED if self.skipped else NOT_RUN

    @property
    def is_broken(self):
        """Also where none of its tests was even tried: a skip has a reason, this has none."""
        return self.outcome in (BROKEN, NOT_RUN)

    @property
    def verdict(self):
        reasons = "; ".join(sorted(set(self.skipped)))
        if self.failed:
            return f"**broken**: {', '.join(self.failed)}"
        if self.outcome == BROKEN:
            return f"**broken**: recovered after {self.recovery_s:.0f} s only"
        if not self.passed:
            return f"skipped: {reasons}" if self.skipped else "not run: no test was selected"
        count = self.passed.total()
        words = [f"held in {count} test{'s' if count > 1 else ''}"]
        words += [f"{len(self.skipped)} skipped: {reasons}"] if self.skipped else []
        words += [f"{len(self.missing)} more not run this time"] if self.missing else []
        return ", ".join(words)

    @property
    def shown(self):
        return ", ".join(f"{kind} {self.passed[kind]}" for kind in ("real", "part", "pure") if self.passed[kind])

    @property
    def recovery(self):
        return "" if self.recovery_s is None else f"{self.recovery_s:.0f}"


def node_of(case):
    """`path::name` of a JUnit case."""
    path = case.get("classname").replace(".", "/") + ".py"
    return f"{path}::{case.get('name')}"


def ran_of(fault, cases):
    """A test without brackets counts with all its parameters."""
    ran = Ran()
    for test in fault.tests:
        found = {node: case for node, case in cases.items() if node == test or node.startswith(f"{test}[")}
        for node, case in found.items():
            ran.add(node, case)
        if not found:
            ran.missing.append(test)
    return ran


def write_report(matrix: Sequence[Path], results: Path, document: Path) -> list[str]:
    """`matrix`: JUnit files, later ones count for tests that are in several. Gives the faults that broke something."""
    cases = {
        node_of(case): case
        for path in matrix
        if path.exists()  # a run that could not even begin has left none
        for case in ElementTree.parse(path).iter("testcase")  # noqa: S314 - our own files
        if case.get("classname")  # one that was interrupted has none
    }
    rows, not_run, broke, outcomes = [], [], [], {}
    for fault in FAULTS:
        if fault.not_run:
            outcomes[fault.id] = NOT_RUN
            not_run.append(f"- {fault.id}, {fault.what}: {fault.not_run}.")
            continue
        ran = ran_of(fault, cases)
        outcomes[fault.id] = ran.outcome
        broke += [fault.id] * ran.is_broken
        words = (fault.id, fault.what, fault.injected, fault.holds, ran.verdict, ran.shown, ran.recovery)
        rows.append(f"| {' | '.join(words)} |")
    text = HEAD.format(
        limit=RECOVERY_LIMIT_S,
        counted=counted(outcomes),
        invariants="\n".join(f"- **{name}** {meaning}" for name, meaning in INVARIANTS.items()),
        ran="\n".join(map(_when, matrix)),
        faults="\n".join([COLUMNS, "| --- | --- | --- | --- | --- | --- | --- |", *rows]),
        not_run="Not run:\n\n" + "\n".join(not_run),
    )
    if results.exists():
        text += "\n" + seeds_section([json.loads(line) for line in results.read_text(encoding="utf-8").splitlines()])
    document.parent.mkdir(exist_ok=True)
    document.write_text(text, encoding="utf-8")
    return broke


def counted(outcomes):
    """How many faults (outcomes: by their ids) held, and those that did not simply hold by name."""
    words = []
    for one in OUTCOMES:
        ids = [fault for fault, outcome in outcomes.items() if outcome == one]
        words.append(f"{len(ids)} {one}" + (f" ({', '.join(ids)})" if ids and one != HELD else ""))
    return (
        f"Of {len(outcomes)} faults: {'; '.join(words)}. *In part*: some of its tests were skipped or not run; "
        "*skipped*: all of them, for the reason in its row."
    )


def run_file(matrix: Path) -> Path:
    """Where `matrix` notes when and on which commit a JUnit file was made."""
    return matrix.with_suffix(".json")


def _when(matrix: Path) -> str:
    if not run_file(matrix).exists():
        return f"Nobody noted when `{matrix.name}` was made."
    run = json.loads(run_file(matrix).read_text(encoding="utf-8"))
    return f"These tests ran on {run['at']} on commit {run['commit']}; pytest's exit code was {run['exit_code']}."

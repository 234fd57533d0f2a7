"""What `make faults` keeps: the outcome of each fault (matrix.json), and docs/explanation/reliability.md."""

import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from statistics import median
from textwrap import fill
from xml.etree import ElementTree

from tests.faults.matrix import FAULTS, INVARIANTS, RECOVERY_LIMIT_S, shown_by
from tests.faults.scenario import GENERATOR

PAGE = Path(__file__).with_name("reliability.txt")
FAULT_BY_ID = {fault.id: fault for fault in FAULTS}
HELD, IN_PART, BROKEN, SKIPPED, NOT_RUN = OUTCOMES = ("held", "held in part", "broken", "skipped", "not run")


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
        told = (each for each in case.iter("property") if each.get("name") == "recovery_s")
        recoveries += [float(each.get("value")) for each in told]
    missing, recovery_s = [test for test in tests if test not in cases], max(recoveries, default=None)
    if failed or (recovery_s or 0.0) > RECOVERY_LIMIT_S:
        outcome = BROKEN
    elif passed:
        outcome = IN_PART if skipped or missing else HELD
    else:
        outcome = SKIPPED if skipped else NOT_RUN
    found = {"outcome": outcome, "passed": passed, "failed": failed, "skipped": skipped, "missing": missing}
    return {**found, "recovery_s": recovery_s}


def results_of(matrix: Sequence[Path], kept: dict) -> dict:
    """`matrix`: JUnit files; where a test is in several of them, the last one counts.

    kept: the results before. They stay, but for those of the faults that ran alone, if no run was of all of them.
    """
    cases = {
        f"{case.get('classname').replace('.', '/')}.py::{case.get('name')}": case
        for path in matrix
        if path.exists()  # a run that could not even begin has left none
        for case in ElementTree.parse(path).iter("testcase")  # noqa: S314 - our own files
        if case.get("classname")  # one that was interrupted has none
    }
    runs = [json.loads(run_file(path).read_text(encoding="utf-8")) for path in matrix if run_file(path).exists()]
    tests = {fault: nodes for run in runs for fault, nodes in run.pop("tests").items()}
    faults = {fault.id: ran_of(tests.get(fault.id, ()), cases) for fault in FAULTS}
    if all("fault" in run for run in runs):
        alone = {run["fault"] for run in runs}
        runs = [run for run in kept["runs"] if run.get("fault") not in alone] + runs
        faults |= {name: ran for name, ran in kept["faults"].items() if name in faults and name not in alone}
    return {"runs": runs, "faults": faults}


def text_of(results: dict) -> str:
    """JSON with a line for each fault."""
    faults = ",\n".join(f"  {json.dumps(name)}: {json.dumps(fault)}" for name, fault in results["faults"].items())
    return f'{{"runs": {json.dumps(results["runs"])},\n "faults": {{\n{faults}\n }}}}\n'


def run_file(matrix: Path) -> Path:
    """Where `matrix` notes of a JUnit file: when, on which commit, and the tests of each fault."""
    return matrix.with_suffix(".json")


def broken_in(results: dict) -> list[str]:
    """Faults that broke something. A fault of which no test was even selected counts, unless it cannot be injected."""
    return [
        name
        for name, fault in results["faults"].items()
        if fault["outcome"] in (BROKEN, NOT_RUN) and not FAULT_BY_ID[name].not_run
    ]


def page_of(results: dict, seed_lines: Sequence[dict]) -> str:
    """docs/explanation/reliability.md. seed_lines: of seeds.jsonl, in the order in which they ran."""
    text = PAGE.read_text(encoding="utf-8").partition("-->\n")[2]
    return text.format(
        counted=wrapped(f"{counted(results['faults'])} {_runs(results)}"),
        limit=RECOVERY_LIMIT_S,
        invariants="\n".join(wrapped(f"- **{name}**: {meaning}") for name, meaning in INVARIANTS.items()),
        seeds="\n\n".join(map(wrapped, summary(seed_lines))),
        recoveries=recovery_table(seeds_of(seed_lines)),
    )


def counted(faults: dict) -> str:
    """How many faults held; those that did not simply hold are named."""
    words = []
    for outcome in OUTCOMES:
        names = [name for name, fault in faults.items() if fault["outcome"] == outcome]
        words.append(f"{len(names)} {outcome}" + (f" ({', '.join(names)})" if names and outcome != HELD else ""))
    return f"Of {len(faults)} faults: {'; '.join(words)}."


def wrapped(line: str) -> str:
    """Markdown in lines of the pages' width."""
    return fill(
        line, 119, subsequent_indent="  " * line.startswith("- "), break_long_words=False, break_on_hyphens=False
    )


def _runs(results: dict) -> str:
    return " ".join(
        f"{run.get('fault', 'These tests')} ran on {run['at']} on commit {run['commit']}; "
        f"pytest ended with exit code {run['exit_code']}."
        for run in results["runs"]
    )


def lines_of_faults(results: dict):
    """Each fault in words: what is injected, what must hold, and what the newest run of its tests showed."""
    yield _runs(results)
    for name, ran in results["faults"].items():
        fault = FAULT_BY_ID[name]
        yield f"\n{name}  {fault.what}: {_seen(ran)}"
        if fault.not_run:
            yield f"     why: {fault.not_run}"
        yield f"     injected: {fault.injected}"
        yield f"     must hold: {fault.holds}"


def _seen(ran: dict) -> str:
    words = [ran["outcome"]]
    words += [f"{kind} {ran['passed'][kind]}" for kind in ("real", "part", "pure") if kind in ran["passed"]]
    words += [f"failed: {', '.join(ran['failed'])}"] * bool(ran["failed"])
    words += [f"{len(ran['skipped'])} skipped: {'; '.join(sorted(set(ran['skipped'])))}"] * bool(ran["skipped"])
    words += [f"{len(ran['missing'])} tests did not run"] * bool(ran["missing"])
    if ran["recovery_s"] is not None:
        words.append(f"recovered after {ran['recovery_s']:.0f} s")
    return ", ".join(words)


ASKED = range(200)


def seeds_of(lines):
    """The newest run of each seed, by seed."""
    newest = {line["seed"]: line for line in lines}
    return [newest[seed] for seed in sorted(newest)]


def summary(lines):
    """Two paragraphs: of all runs, and of the newest run of each seed."""
    runs = seeds_of(lines)
    never = spans(sorted(set(ASKED) - {line["seed"] for line in runs}))
    made = Counter(line.get("generator", 1) for line in runs)
    of_generators = ", ".join(f"{made[number]} of {number}" for number in range(1, GENERATOR + 1))
    commits = {commit for line in runs if (commit := line.get("commit"))}
    days = sorted(line["at"].partition(" ")[0] for line in runs) or ["never"]
    return (
        f"{len(lines)} runs of {len(runs)} seeds; **{sum(bool(line['broken']) for line in lines)} runs broke "
        f"something**. Of the seeds {ASKED[0]}-{ASKED[-1]}, never run: {never or 'none'}.",
        f"The newest run of each seed: {sum(not line['broken'] for line in runs)} of {len(runs)} broke nothing. "
        f"They are not one run: they are of {len(commits)} commits, from {days[0]} to "
        f"{days[-1]}. By generator (the newest is {GENERATOR}): {of_generators}.",
    )


def spans(numbers):
    """`1-3, 7` of 1, 2, 3, 7."""
    runs = [[number for _, number in run] for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])]
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def recovery_table(runs):
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


def lines_of_seeds(lines):
    """All of it, for a terminal."""
    runs = seeds_of(lines)
    holds = {line["seed"] for line in runs if not line["broken"]}
    yield from (*summary(lines), "", recovery_table(runs), "")
    for line in lines:
        if line["broken"]:
            later = "held when it ran again" if line["seed"] in holds else "its newest run is broken, too"
            yield f"seed {line['seed']} ({line['at']}): {line['broken'][0].splitlines()[0]} ({later})"

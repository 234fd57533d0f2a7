"""The score of a mutation run, without the tool."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from textwrap import fill

SURVIVED = ("survived", "no tests")
KINDS = {"killed": "noticed", "segfault": "noticed", "timeout": "too slow"}  # a busy machine is slow, too

LISTED = {"left": "Not noticed", "not run": "Not run"}

_PAGE = """# Mutants: what no test notices

`make mutants` changes what counts, scores, stores and decides a line at a time and runs the unit tests that reach the
line. It writes this page; do not edit it. The tool is [mutmut](https://mutmut.readthedocs.io) {mutmut} (BSD-3-Clause).

**Of {changes:,} changes, {run:,} were run ({share}). Of these {noticed:,} were noticed, {left:,} were not,
{accepted:,} more are accepted for a [reason](../../tests/mutants/accepted.json), and {slow:,} took too long to
say**, which other work on the machine may cause. They ran {when}.

{modules}

Not changed: what stands outside of functions, functions with a decorator, and the texts of errors. Not asked: tests on
Spark, Kafka or a store, which would notice more.

Each change is asked of the tests that reach the fewest other functions, until these take five seconds; with `AGAIN=1`,
those that were not noticed are asked of all tests.
"""


def nearest(
    reached_by: Mapping[str, Collection[str]], seconds: Mapping[str, float], limit_s: float
) -> dict[str, list[str]]:
    """Function -> the tests that are asked, those first that reach the fewest functions, until they take `limit_s`.

    A test of one function notices its changes sooner than the hundreds that pass through it. A test that takes longer
    than all may is asked where no other reaches the function.
    """
    reach = Counter(test for tests in reached_by.values() for test in tests)
    asked: dict[str, list[str]] = {}
    for function, tests in reached_by.items():
        by_file: dict[str, list[str]] = {}  # a file's tests stay together: they share what they need
        taken_s = 0.0
        costs = {test: seconds.get(test, 0.0) for test in tests}
        for test in sorted(tests, key=lambda test: (costs[test] > limit_s, reach[test], costs[test], test)):
            if by_file and taken_s + costs[test] > limit_s:
                continue
            by_file.setdefault(test.partition("::")[0], []).append(test)
            taken_s += costs[test]
        asked[function] = [test for of_file in by_file.values() for test in of_file]
    return asked


def function_of(name: str) -> str:
    """`models.counting.blobs.Journal.record` of mutmut's `models.counting.blobs.xǁJournalǁrecord__mutmut_3`."""
    module, _, function = name.rpartition("__mutmut_")[0].rpartition(".")
    return f"{module}.{'.'.join(part for part in function.removeprefix('x').removeprefix('_').split('ǁ') if part)}"


def unaccepted(changes: Mapping[str, str], accepted: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Mutants that no test noticed and that are not accepted.

    accepted: function -> {changed line, or * for all of them: reason}.
    """
    reasons = ((name, change, accepted.get(function_of(name), {})) for name, change in changes.items())
    return [name for name, change, of_function in reasons if not (of_function.get(change) or of_function.get("*"))]


def when(runs: Sequence[Mapping[str, str]]) -> str:
    """`on 2026-11-27, of commit c294ac2`, or from the first day and commit to the last. runs: the oldest first."""
    days, commits = [run["date"][:10] for run in runs], [run["commit"] for run in runs]
    if not runs:
        return "on no day"
    if len({*days}) == len({*commits}) == 1:
        return f"on {days[0]}, of commit {commits[0]}"
    return f"on {days[0]} and until {days[-1]}, of the commits from {commits[0]} to {commits[-1]}"


def lines_of(by_module: Mapping[str, Mapping[str, int]]) -> str:
    """A line for each kind of change that no test has noticed, with the modules of most changes first."""
    lines = []
    for kind, words in LISTED.items():
        modules = sorted((-counts[kind], module) for module, counts in by_module.items() if counts.get(kind))
        if modules:
            shown = (f"{module} ({-number:,} of {sum(by_module[module].values()):,})" for number, module in modules)
            lines.append(f"- {words}: {', '.join(shown)}")
    return "\n".join(fill(line, 119, subsequent_indent="  ", break_on_hyphens=False) for line in lines)


def page_of(by_module: Mapping[str, Mapping[str, int]], runs: Sequence[Mapping[str, str]], mutmut: str) -> str:
    """docs/explanation/mutants.md. by_module: how many changes of each are of which kind."""
    total = sum(map(Counter, by_module.values()), Counter())
    changes = sum(total.values())
    run = changes - total["not run"]
    return _PAGE.format(
        mutmut=mutmut,
        when=when(runs),
        changes=changes,
        run=run,
        share=f"{100 * run / max(changes, 1):.0f} %",
        noticed=total["noticed"],
        accepted=total["accepted"],
        left=total["left"],
        slow=total["too slow"],
        modules=lines_of(by_module),
    )

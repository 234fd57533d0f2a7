"""The score of a mutation run, without the tool."""

from collections.abc import Mapping, Sequence

SURVIVED = ("survived", "no tests")
KINDS = {"killed": "noticed", "segfault": "noticed", "timeout": "too slow"}  # a busy machine is slow, too

_PAGE = """# Mutants: what no test notices

`make mutants` changes what counts, scores, stores and decides a line at a time and runs the unit tests that reach the
line. It writes this page; do not edit it. The tool is [mutmut](https://mutmut.readthedocs.io) {mutmut} (BSD-3-Clause).

**Of {changes:,} changes, {run:,} were run ({share}), {when}. Of these {noticed:,} were noticed, {left:,} were not,
{accepted:,} more are accepted for a [reason](../../tests/mutants/accepted.json), and {slow:,} took too long to
say**, which other work on the machine may cause. The command prints those that were not noticed, and fails.

| module | changes | noticed | accepted | not noticed | too slow | not run |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
{rows}

Not changed: what stands outside of functions (tests hold such limits by what they do; the alerts' numbers stand in a
table), functions with a decorator, and the texts of errors. Not asked: tests on Spark, Kafka or a store, which would
notice more.

A run that was stopped goes on where it stood. `MODULES='models.baseline*'` chooses some modules, `SHARD=3/8` an eighth
of the changes, `AGAIN=1` those that were not noticed or too slow before. `RESULTS='mutants OTHER/mutants'` also counts
what another clone has run.
"""


def function_of(name: str) -> str:
    """`models.counting.blobs.Journal.record` of mutmut's `models.counting.blobs.xǁJournalǁrecord__mutmut_3`."""
    module, _, function = name.rpartition("__mutmut_")[0].rpartition(".")
    return f"{module}.{'.'.join(part for part in function.removeprefix('x').removeprefix('_').split('ǁ') if part)}"


def unaccepted(changes: Mapping[str, str], accepted: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Mutants that no test noticed and that are not accepted. accepted: function -> {changed line: reason}."""
    return [name for name, change in changes.items() if not accepted.get(function_of(name), {}).get(change)]


def when(runs: Sequence[Mapping[str, str]]) -> str:
    """`on 2026-11-27, of commit c294ac2`, or from the first day and commit to the last. runs: the oldest first."""
    days, commits = [run["date"][:10] for run in runs], [run["commit"] for run in runs]
    if not runs:
        return "on no day"
    if len({*days}) == len({*commits}) == 1:
        return f"on {days[0]}, of commit {commits[0]}"
    return f"from {days[0]} to {days[-1]}, of the commits from {commits[0]} to {commits[-1]}"


def page_of(by_module: Mapping[str, Mapping[str, int]], runs: Sequence[Mapping[str, str]], mutmut: str) -> str:
    """docs/explanation/mutants.md. by_module: how many changes of each are of which kind."""
    kinds = ("noticed", "accepted", "left", "too slow", "not run")
    rows, total = [], dict.fromkeys(kinds, 0)
    for module, counts in sorted(by_module.items()):
        numbers = [counts.get(kind, 0) for kind in kinds]
        total = {kind: total[kind] + number for kind, number in zip(kinds, numbers, strict=True)}
        rows.append(f"| {module} | {' | '.join(f'{number:,}' for number in (sum(numbers), *numbers))} |")
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
        rows="\n".join(rows),
    )

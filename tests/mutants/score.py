"""The score of a mutation run, without the tool."""

from collections.abc import Mapping

SURVIVED = ("survived", "no tests")
KINDS = {"killed": "noticed", "segfault": "noticed", "timeout": "too slow"}  # a busy machine is slow, too

_PAGE = """# Mutants: what no test notices

`make mutants` changes the pure core a line at a time and runs the unit tests that reach the line. It writes this page;
do not edit it. Written on {date}, of commit {commit}, by
[mutmut](https://mutmut.readthedocs.io) {mutmut} (BSD-3-Clause).

**Of {changes:,} changes, {run:,} were run ({share}). Of these {noticed:,} were noticed, {left:,} were not, {accepted:,}
more are accepted for a [reason](../../tests/mutants/accepted.json), and {slow:,} took too long to
say**, which other work on the machine may cause. The command prints those that were not noticed, and fails.

| module | changes | noticed | accepted | not noticed | too slow | not run |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
{rows}

Not changed: what stands outside of functions (tests hold such limits by what they do), functions with a decorator, and
the texts of errors. Not asked: tests on Spark, Kafka or a store, which would notice more. `MODULES='models.baseline*'`
chooses some modules.
"""


def function_of(name: str) -> str:
    """`models.counting.blobs.Journal.record` of mutmut's `models.counting.blobs.xǁJournalǁrecord__mutmut_3`."""
    module, _, function = name.rpartition("__mutmut_")[0].rpartition(".")
    return f"{module}.{'.'.join(part for part in function.removeprefix('x').removeprefix('_').split('ǁ') if part)}"


def unaccepted(changes: Mapping[str, str], accepted: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Mutants that no test noticed and that are not accepted. accepted: function -> {changed line: reason}."""
    return [name for name, change in changes.items() if not accepted.get(function_of(name), {}).get(change)]


def page_of(by_module: Mapping[str, Mapping[str, int]], made: Mapping[str, str]) -> str:
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
        **{**made, "date": made["date"][:10]},
        changes=changes,
        run=run,
        share=f"{100 * run / max(changes, 1):.0f} %",
        noticed=total["noticed"],
        accepted=total["accepted"],
        left=total["left"],
        slow=total["too slow"],
        rows="\n".join(rows),
    )

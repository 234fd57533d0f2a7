"""What the seeded scenarios showed, from the lines that `seeds` adds to seeds.jsonl."""

from collections import Counter, defaultdict
from itertools import groupby
from statistics import median

from tests.faults.scenario import GENERATOR

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

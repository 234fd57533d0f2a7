"""The second half of docs/reliability.md: what the seeded scenarios showed, from the lines that `seeds` adds."""

from collections import Counter, defaultdict
from itertools import chain, groupby
from pathlib import Path
from statistics import median

from tests.faults.injected import SAID_AFTER_S, could_be_silent
from tests.faults.scenario import GENERATOR

FOUND = Path(__file__).with_name("found.md")
WANTED = range(200)
SEEDS = """## Seeded scenarios

From one seed comes a whole list of actions (load, corrections, cancellations, repeats, rubbish, SIGKILL at a mark,
broker and store faults, a new region, more partitions, a swapped artifact); it is printed, run, and judged by the same
recount. `python -m tests.faults seeds 17 --shorten` runs one again and leaves out what it does not need to fail. Every
run is a line of [reliability-seeds.jsonl](reliability-seeds.jsonl), with its day and commit.

{runs}

{by_commit}

The newest run of each seed:

{summary}

{actions}

{injected}

{failures}
{found}"""
GENERATORS = """Generator 2 has the lists of actions of generator 1, but sends more late events, one more event a region
on the next day, and events while the broker is away. Since then every tick that was written is recounted, and silence
about a fault is judged. Generator 3 has other lists: some scenarios run on the machine's clock, as the job does by
default, and Kafka may be away, frozen or silent for 75 s. The networks of its artifacts change scores, so that a wrong
feature shows."""


def seeds_section(lines):
    """`lines`: of reliability-seeds.jsonl, in the order in which they were run."""
    newest = {line["seed"]: line for line in lines}
    runs = sorted(newest.values(), key=lambda line: line["seed"])
    failed = [line for line in runs if line["broken"]]
    held_later = [line for line in lines if line["broken"] and not newest[line["seed"]]["broken"]]
    return SEEDS.format(
        runs=_runs(lines, newest),
        by_commit=_by_commit(lines),
        summary=_summary(runs, failed),
        actions=_actions(runs),
        injected=_injected(runs),
        failures=_listed("Broken:", failed) + _listed("Broken once, and held when run again:", held_later),
        found=FOUND.read_text(encoding="utf-8"),
    )


def generator_of(line):
    return line.get("generator", 1)


def _runs(lines, newest):
    broke = sum(bool(line["broken"]) for line in lines)
    never = spans(sorted(set(WANTED) - set(newest)))
    return (
        f"{len(lines)} runs in all, of {len(newest)} seeds; **{broke} runs broke something**. "
        f"Of the seeds {WANTED[0]}-{WANTED[-1]} never run: {never or 'none'}."
    )


def spans(numbers):
    """`1-3, 7` of 1, 2, 3, 7."""
    runs = [[number for _, number in run] for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])]
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def _by_commit(lines):
    groups = defaultdict(list)
    for line in lines:
        groups[line.get("commit") or "not noted", generator_of(line)].append(bool(line["broken"]))
    rows = [f"| {commit} | {made_by} | {len(all_)} | {sum(all_)} |" for (commit, made_by), all_ in groups.items()]
    head = ["| commit | generator | runs | broke something |", "| --- | --- | --- | --- |"]
    return "\n".join([*head, *rows, "", GENERATORS])


def _summary(runs, failed):
    exits = Counter(code for line in runs for code in line["exits"])
    current = sum(generator_of(line) == GENERATOR for line in runs)
    return (
        f"{len(runs)} seeds, {len(runs) - len(failed)} of them without a broken invariant, {current} by generator "
        f"{GENERATOR}; {sum(line['messages'] for line in runs):,} messages, {sum(line['starts'] for line in runs)} "
        "starts of the job. The job ended by itself "
        + (", ".join(f"{count} times with code {code}" for code, count in sorted(exits.items())) or "never")
        + " (a store that stays away longer than a write may take, for one) and was started again, as a supervisor "
        "does."
    )


def _actions(runs):
    recoveries = defaultdict(list)
    for line in runs:
        for what, seconds in line["recoveries"]:
            recoveries[what].append(seconds)
    rows = [
        f"| {what} | {len(seconds)} | {median(seconds):.0f} | {max(seconds):.0f} |"
        for what, seconds in sorted(recoveries.items())
    ]
    return "\n".join(["| after | times | median s | slowest s |", "| --- | --- | --- | --- |", *rows])


def _injected(runs):
    """How often a fault met nothing, and by what the job gave a sign of the others before it had recovered."""
    noted = [line["injected"] for line in runs if "injected" in line]
    by_kind = defaultdict(list)
    for kind, hits, effect_s, sign, *_ in chain.from_iterable(noted):
        sign = (sign or "none").split(":")[0].split(" ")[0]
        by_kind[kind].append((hits, sign, could_be_silent(kind, effect_s)))
    if not by_kind:
        return ""
    head = [
        "| fault of broker or store | times | met nothing | line | health | exit | no sign | could have been silent |",
        "| --- |" + " --- |" * 7,
    ]
    rows = []
    for kind, met in sorted(by_kind.items()):
        signs = Counter(sign for hits, sign, _ in met if hits)
        counts = [
            len(met),
            sum(not hits for hits, *_ in met),
            *(signs[one] for one in ("line", "health", "exit", "none")),
            sum(could for *_, could in met) if kind in SAID_AFTER_S else "-",
        ]
        rows.append(f"| {kind} | {' | '.join(map(str, counts))} |")
    words = (
        f"Of the {len(noted)} seeds whose newest run noted it. *Could have been silent*: felt for so long that I9 "
        "wants a sign; `-` where I9 has no such limit for the fault."
    )
    return "\n".join([*head, *rows, "", words])


def _listed(title, lines):
    rows = [f"- seed {line['seed']} ({line['at']}): {line['broken'][0].splitlines()[0]}" for line in lines]
    return "\n".join([title, "", *rows, "", ""]) if rows else ""

"""Runs one shard of mutmut's changes: those without a result. `make mutants` starts it, with `mutants/` on the path.

mutmut stores each result in `mutants/` as soon as it is there, so the next run goes on where this one was stopped. A
function that was changed since loses its results.
"""

import json
import math
import subprocess
import sys
import zlib
from datetime import UTC, datetime
from pathlib import Path

import mutmut.__main__ as tool
from mutmut.state import state
from mutmut.stats import status_by_exit_code

DONE = {"killed", "segfault"}
WORLDS = (  # the first test of each makes and trains a town, which its own seconds do not tell
    "tests/unit/lifecycle/gate/test_challenger_informed.py::",
    "tests/unit/lifecycle/gate/test_commands.py::",
    "tests/unit/lifecycle/gate/test_retrain.py::",
    "tests/unit/lifecycle/archive/test_archive_commands.py::",
)
WORLD_S = 30.0
ASKED_S = 5.0  # of tests for each change; those that were noticed by none are asked of all tests by AGAIN=1


def is_due(name: str, exit_code: int | None, *, number: int, count: int, again: bool) -> bool:
    """Whether this shard runs the change. again: those that were not noticed or too slow, in place of new ones."""
    is_ours = zlib.crc32(name.encode()) % count == number - 1
    is_wanted = exit_code is not None and status_by_exit_code[exit_code] not in DONE if again else exit_code is None
    return is_ours and is_wanted


def main(shard: str, again: str, *modules: str) -> None:
    """Run `shard`, such as 3/8, of the modules, patterns such as models.counting*; all without any."""
    number, count = map(int, shard.split("/"))
    if not 1 <= number <= count:
        sys.exit(f"SHARD={shard}: write it as 3/8, with a first number from 1 to the second")
    every = tool.collect_source_file_mutation_data

    def of_this_shard(*, mutant_names):
        changes, files = every(mutant_names=mutant_names)
        due = [one for one in changes if is_due(one[1], one[2], number=number, count=count, again=bool(again))]
        print(f"shard {shard}: {len(due)} of {len(changes)} changes are to be run")  # noqa: T201
        return due, files

    tool.collect_source_file_mutation_data = of_this_shard
    learn = tool.collect_or_load_stats

    def then_nearest(*args, **kwargs):
        learn(*args, **kwargs)
        from tests.mutants.score import nearest  # there is no folder tests in mutants/ before

        learned = state()
        limit_s = math.inf if again else ASKED_S
        seconds = {test: own + WORLD_S * test.startswith(WORLDS) for test, own in learned.duration_by_test.items()}
        asked = nearest(learned.tests_by_mangled_function_name, seconds, limit_s)
        learned.tests_by_mangled_function_name.update(asked)

    tool.collect_or_load_stats = then_nearest
    of_all = tool.tests_for_mutant_names
    tool.tests_for_mutant_names = lambda names: sorted(of_all(names))  # of all tests in any order the first run fails
    git = subprocess.run(["git", "describe", "--always", "--dirty=+"], capture_output=True, text=True, check=False)  # noqa: S607
    run = {"date": datetime.now(UTC).isoformat(timespec="seconds"), "commit": git.stdout.strip(), "shard": shard}
    with Path("mutants/runs.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(run) + "\n")
    tool.cli(["run", "--max-children", "1", *(modules or ("*",))], standalone_mode=False)


if __name__ == "__main__":
    main(*sys.argv[1:])

"""`make mutants`: runs changes of one line, by mutmut, and shows those that no test noticed.

mutmut stores each result in `mutants/` as soon as it is there, so the next run goes on where this one was stopped. A
function that was changed since loses its results.
"""

import json
import math
import sys
import zlib
from collections import Counter
from collections.abc import Collection, Mapping
from fnmatch import fnmatch
from pathlib import Path

DONE = {"killed", "segfault"}
NOT_NOTICED = {"survived", "no tests"}
WORLDS = (  # the first test of each makes and trains a town, which its own seconds do not tell
    "tests/unit/lifecycle/gate/test_challenger.py::",
    "tests/unit/lifecycle/gate/test_commands.py::",
    "tests/unit/lifecycle/archive/test_archive.py::",
)
WORLD_S = 30.0
ASKED_S = 5.0  # of tests for each change; those that were noticed by none are asked of all tests by AGAIN=1


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


def main(shard: str, again: str, *modules: str) -> None:
    """Run `shard`, such as 3/8, of the modules, patterns such as models.counting*; all without any.

    again: those that were not noticed or too slow, in place of new ones.
    """
    import mutmut.__main__ as tool
    from mutmut.mutation.diff_apply import get_diff_for_mutant
    from mutmut.state import state
    from mutmut.stats import status_by_exit_code
    from mutmut.utils.file_utils import walk_mutatable_files

    number, count = map(int, shard.split("/"))
    if not 1 <= number <= count:
        sys.exit(f"SHARD={shard}: write it as 3/8, with a first number from 1 to the second")
    every = tool.collect_source_file_mutation_data

    def is_due(name, exit_code):
        is_wanted = exit_code is not None and status_by_exit_code[exit_code] not in DONE if again else exit_code is None
        return is_wanted and zlib.crc32(name.encode()) % count == number - 1

    def of_this_shard(*, mutant_names):
        changes, files = every(mutant_names=mutant_names)
        due = [change for change in changes if is_due(change[1], change[2])]
        print(f"shard {shard}: {len(due)} of {len(changes)} changes are to be run")  # noqa: T201
        return due, files

    tool.collect_source_file_mutation_data = of_this_shard
    learn = tool.collect_or_load_stats

    def then_nearest(*args, **kwargs):
        learn(*args, **kwargs)
        learned = state()
        seconds = {test: own + WORLD_S * test.startswith(WORLDS) for test, own in learned.duration_by_test.items()}
        asked = nearest(learned.tests_by_mangled_function_name, seconds, math.inf if again else ASKED_S)
        learned.tests_by_mangled_function_name.update(asked)

    tool.collect_or_load_stats = then_nearest
    of_all = tool.tests_for_mutant_names
    tool.tests_for_mutant_names = lambda names: sorted(of_all(names))  # of all tests in any order the first run fails
    patterns = modules or ("*",)
    tool.cli(["run", "--max-children", "1", *patterns], standalone_mode=False)
    statuses: Counter[str] = Counter()
    for meta in (Path("mutants") / f"{source}.meta" for source in walk_mutatable_files()):
        codes = json.loads(meta.read_text(encoding="utf-8"))["exit_code_by_key"] if meta.exists() else {}
        for name, code in codes.items():
            if any(fnmatch(name, pattern) for pattern in patterns):
                statuses[status_by_exit_code[code]] += 1
                if status_by_exit_code[code] in NOT_NOTICED:
                    print(get_diff_for_mutant(name))  # noqa: T201
    print(", ".join(f"{number} {status}" for status, number in statuses.most_common()))  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])

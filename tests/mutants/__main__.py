"""`python -m tests.mutants`: what mutmut found, against the accepted survivors; writes docs/explanation/mutants.md."""

import json
import re
import sys
from collections import Counter, defaultdict
from importlib.metadata import version
from pathlib import Path

from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code
from rich.console import Console

from benchmarks.machine import made_at
from tests.mutants.score import KINDS, SURVIVED, function_of, page_of, unaccepted

FOUND = Path("mutants")
ACCEPTED = Path("tests/mutants/accepted.json")
PAGE = Path("docs/explanation/mutants.md")


def found() -> dict[str, str]:
    """mutant -> what became of it."""
    files = sorted(FOUND.rglob("*.meta"))
    codes = [json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"] for path in files]
    return {name: status_by_exit_code[code] for of_file in codes for name, code in of_file.items()}


def changes_of(names: list[str]) -> dict[str, str]:
    """mutant -> the lines that it has in place of the product's."""
    return {
        name: " ".join(" ".join(re.findall(r"^\+(?!\+\+ )(.*)$", get_diff_for_mutant(name), re.MULTILINE)).split())
        for name in names
    }


def main() -> int:
    console, statuses = Console(highlight=False, soft_wrap=True), found()
    changes = changes_of([name for name, status in statuses.items() if status in SURVIVED])
    accepted = json.loads(ACCEPTED.read_text(encoding="utf-8"))
    left = unaccepted(changes, accepted)
    for name in left:
        console.print(f"{function_of(name)}: {changes[name]}", markup=False)
    by_module = defaultdict(Counter)
    for name, status in statuses.items():
        kind = KINDS.get(status, "not run")
        if name in changes:
            kind = "left" if name in left else "accepted"
        by_module[name.rpartition(".")[0]][kind] += 1
    PAGE.write_text(page_of(by_module, made_at() | {"mutmut": version("mutmut")}), encoding="utf-8")
    console.print(f"{len(left)} changes were not noticed and are not accepted; written to {PAGE}")
    return int(bool(left))


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tests.mutants [FOLDER...]`: what mutmut found, against the accepted survivors; writes the page of mutants.

FOLDER: `mutants` of this clone, and of other ones of the same commit that ran other shards.
"""

import json
import re
import sys
from collections import Counter, defaultdict
from importlib.metadata import version
from pathlib import Path

from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code
from mutmut.utils.file_utils import walk_mutatable_files
from rich.console import Console

from tests.mutants.score import KINDS, SURVIVED, function_of, page_of, unaccepted

ACCEPTED = Path("tests/mutants/accepted.json")
PAGE = Path("docs/explanation/mutants.md")


def results(folders: list[Path]) -> dict[str, str]:
    """change -> what became of it, from whichever folder has run it."""
    files = [folder / f"{source}.meta" for folder in folders for source in walk_mutatable_files()]
    codes = [json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"] for path in files if path.exists()]
    by_name: dict[str, int | None] = {}
    for name, code in (item for of_file in codes for item in of_file.items()):
        by_name[name] = by_name.get(name) if code is None else code
    return {name: status_by_exit_code[code] for name, code in by_name.items()}


def runs(folders: list[Path]) -> list[dict[str, str]]:
    """When the shards were run, the oldest first, and of which commits."""
    logs = [folder / "runs.jsonl" for folder in folders]
    lines = [line for log in logs if log.exists() for line in log.read_text(encoding="utf-8").splitlines()]
    return sorted(map(json.loads, lines), key=lambda run: run["date"])


def changes_of(names: list[str]) -> dict[str, str]:
    """mutant -> the lines that it has in place of the product's."""
    return {
        name: " ".join(" ".join(re.findall(r"^\+(?!\+\+ )(.*)$", get_diff_for_mutant(name), re.MULTILINE)).split())
        for name in names
    }


def main() -> int:
    folders = list(map(Path, sys.argv[1:] or ["mutants"]))
    console, statuses = Console(highlight=False, soft_wrap=True), results(folders)
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
    PAGE.write_text(page_of(by_module, runs(folders), version("mutmut")), encoding="utf-8")
    console.print(f"{len(left)} changes were not noticed and are not accepted; written to {PAGE}")
    return int(bool(left))


if __name__ == "__main__":
    sys.exit(main())

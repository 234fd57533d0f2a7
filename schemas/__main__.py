"""`python -m schemas` writes the generated files of the contract; with `--check` it only compares them."""

import sys
from collections.abc import Sequence

from schemas.contract import documents, out_of_date
from schemas.errors import errors_in_one_line


def main(arguments: Sequence[str]) -> int:
    """Exit code 0: all files are up to date or written. 1: `--check` found a difference. 2: unknown argument."""
    if list(arguments) not in ([], ["--check"]):
        sys.stderr.write("usage: python -m schemas [--check]\n")
        return 2
    stale = out_of_date()
    if arguments:
        for path in stale:
            sys.stderr.write(f"{path.name} differs from the types: run `python -m schemas` and commit the result\n")
        return 1 if stale else 0
    for path in stale:
        path.write_text(documents()[path], encoding="utf-8")
        sys.stdout.write(f"{path.name} written\n")
    return 0


if __name__ == "__main__":
    with errors_in_one_line():
        sys.exit(main(sys.argv[1:]))

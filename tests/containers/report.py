"""`python -m tests.containers.report out/stack.xml`: what a run of tests measured, as a table.

Exit code 1 when a test was skipped: then its subject was not shown.
"""

import sys
from xml.etree import ElementTree

from rich.console import Console
from rich.table import Table


def main(path: str) -> int:
    table, skipped = Table("test", "measured", "value", title=f"measured ({path})"), 0
    for case in ElementTree.parse(path).iter("testcase"):  # noqa: S314 - written by our own run
        for figure in case.iter("property"):
            table.add_row(case.get("name"), figure.get("name"), figure.get("value"))
        for skip in case.iter("skipped"):
            skipped += 1
            table.add_row(case.get("name"), "[red]not run", skip.get("message"))
    Console().print(table)
    return int(skipped > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

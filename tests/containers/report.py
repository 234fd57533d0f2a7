"""`python -m tests.containers.report out/stack.xml`: what a run of `make stack` measured, as a table."""

import sys
from xml.etree import ElementTree

from rich.console import Console
from rich.table import Table


def main(path: str) -> None:
    table = Table("test", "measured", "value", title="measured by make stack")
    for case in ElementTree.parse(path).iter("testcase"):  # noqa: S314 - written by our own run
        for found in case.iter("property"):
            table.add_row(case.get("name"), found.get("name"), found.get("value"))
    Console().print(table)


if __name__ == "__main__":
    main(sys.argv[1])

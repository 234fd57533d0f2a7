"""My area: the districts that a person chooses on the live map. `python -m streaming cells --areas` fills them in."""

# ruff: noqa: S608 - these are queries for Grafana, made from constants

from generator.build import Panel, Size, stat
from generator.looks import STALE, Json, column

# Each choice has its cells' regular expression beside its name, so that a page's address holds only names.
IN_AREA = '"cell" =~ /^(${area.cells:pipe})$/'


def area_variable() -> Json:
    """Any number of areas; all cells at first. Hidden until there are areas to choose from."""
    return {
        "type": "custom",
        "name": "area",
        "label": "Area",
        "description": "Map, list and sums of these districts alone. The page's address keeps the choice: bookmark it.",
        "valuesFormat": "json",
        "query": "[]",
        "hide": 2,
        "skipUrlSync": True,  # an address with an area must not empty a map that has none to choose from
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "allowCustomValue": False,
        "current": {"text": ["All"], "value": ["$__all"]},
    }


def sums(newest: str, size: Size) -> Panel:
    """newest: the query of each cell's newest score."""
    return stat(
        "Expected in the next $horizon",
        "Incidents that the scores expect in the chosen cells, how that compares with what is usual there at this hour "
        "of the week, and how many were counted in the last hour. Cells without a history are left out.",
        size,
        'SELECT sum("expected") AS "expected", sum("expected") / sum("usual") AS "x usual", '
        'sum("observed_1h") AS "seen in 1h" '
        f"FROM ({newest}) WHERE \"support\" != 'no_history'",
        "none",
        without=STALE,
        decimals=1,
        named=True,
        background=False,
        overrides=[column("x usual", decimals=2), column("seen in 1h", decimals=0)],
    )


def ten_highest(newest: str, lift: str) -> str:
    """The query of the chosen cells that are highest by the map's colours, in no order: top() sorts by time."""
    fields = '"r", "expected", "usual", "cell", "support"'
    with_history = (
        f'SELECT ${{colour.by:raw}} AS "s", {fields} FROM ({newest}) WHERE "support" =~ /^(${{colour.known:raw}})$/'
    )
    return (
        f'SELECT "shade", "r" AS "risk", {lift} AS "lift", "expected", "usual", "cell", "support" '
        f'FROM (SELECT top("s", 10) AS "shade", {fields} FROM ({with_history}))'
    )

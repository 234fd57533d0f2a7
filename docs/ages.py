"""How old the runs are that a page rests on: a page whose run is older than a week says so at its head."""

import re
from collections.abc import Iterator
from datetime import date

WEEK_DAYS = 7
_DAY = r"(\d{4}-\d{2}-\d{2})"
_RUN = re.compile(rf"\b(?:[Ww]ritten|[Mm]easured|ran)\s+(?:by `[^`]+`\s+)?on\s+{_DAY}")
_OF_COMMIT = re.compile(rf"\bcommit\s+[0-9a-f]{{7,40}}\W{{1,3}}(?:of\s+)?{_DAY}")
_AND_COMMIT = re.compile(rf"{_DAY}\W{{1,3}}(?:and\W\d\d\W{{1,3}})?commits?\s+[0-9a-f]{{7}}")
_NOTE = """
```{{note}}
The oldest run that this page rests on is of {run}, {days} days before this site was built. It does not cover what
changed since.
```
"""


def run_days(text: str) -> Iterator[date]:
    """The days of the runs that a page names, as "written by `make faults` on DAY", "commit abc1234 of DAY" or
    "DAY (commit abc1234)"."""
    for form in (_RUN, _OF_COMMIT, _AND_COMMIT):
        yield from map(date.fromisoformat, form.findall(text))


def with_age(text: str, today: date) -> str:
    """The page with a note below its heading when a run that it rests on is older than a week."""
    run = min(run_days(text), default=None)
    if run is None or (today - run).days <= WEEK_DAYS:
        return text
    heading, end, rest = text.partition("\n")
    return heading + end + _NOTE.format(run=run, days=(today - run).days) + rest

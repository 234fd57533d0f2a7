"""How old the runs are that a page rests on: a page whose run is older than a week says so at its head."""

import re
from datetime import date

WEEK_DAYS = 7
_RUN = re.compile(r"\b(?:[Ww]ritten|[Mm]easured|ran)\s+(?:by `[^`]+`\s+)?on\s+(\d{4}-\d{2}-\d{2})")
_NOTE = """
```{{note}}
The oldest run that this page rests on is of {run}, {days} days before this site was built. It does not cover what
changed since.
```
"""


def oldest_run(text: str) -> date | None:
    """The oldest day of a run that a page names, "Written by `make faults` on 2026-11-26"; None when it names none."""
    return min(map(date.fromisoformat, _RUN.findall(text)), default=None)


def with_age(text: str, today: date) -> str:
    """The page with a note below its heading when a run that it rests on is older than a week."""
    run = oldest_run(text)
    if run is None or (today - run).days <= WEEK_DAYS:
        return text
    heading, end, rest = text.partition("\n")
    return heading + end + _NOTE.format(run=run, days=(today - run).days) + rest

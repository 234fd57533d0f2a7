"""The parts of the page, as the service sends them."""

import re
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent
_SLOT = re.compile(r"\{\{(\w+)\}\}")


@cache
def part(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def filled(**slots: str) -> str:
    """page.html with HTML in its slots: head and title."""
    return _SLOT.sub(lambda slot: slots[slot[1]], part("page.html"))

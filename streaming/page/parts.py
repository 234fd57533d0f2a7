"""The parts of the page: as they are for the service, joined into one script for the file that the job writes."""

import re
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent
_SLOT = re.compile(r"\{\{(\w+)\}\}")
_IMPORT = re.compile(r'^import \{ [\w$]+(?:, [\w$]+)* \} from "\./(\w+\.js)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=const |let |(?:async )?function )", re.MULTILINE)


@cache
def part(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def filled(**slots: str) -> str:
    """page.html with HTML in its slots: head, title and data."""
    return _SLOT.sub(lambda slot: slots[slot[1]], part("page.html"))


@cache
def joined(module: str) -> str:
    """The module behind all that it imports, as one script without modules: their names must all differ."""
    parts: dict[str, str] = {}

    def add(name: str) -> None:
        for imported in _IMPORT.findall(part(name)):
            if imported not in parts:
                add(imported)
        parts[name] = _EXPORT.sub("", _IMPORT.sub("", part(name)))

    add(module)
    return '"use strict";\n' + "".join(parts.values())

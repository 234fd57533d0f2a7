"""`docs/reference/data-dictionary.md`: every field that leaves the product, made from the types."""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import groupby
from textwrap import fill
from typing import Any

from schemas.measurements import MEASUREMENTS, Column

_HEAD = """# Data dictionary

Made by `python -m schemas`; do not edit. [schemas/README.md](../../schemas/README.md) has the fields of an event, the
reasons for refusing it, and the words.
"""
_STORE = """## The store

A tag is text. A field is a float unless it says *text*. The time of a point is its moment rounded down to the tick (a
minute by default), or the hour of the forecast. So a repeated batch overwrites its own points.
"""


def data_dictionary(letters: str, schema: Mapping[str, Any]) -> str:
    """Markdown. letters: topic of dead letters; schema: JSON Schema of one."""
    fields = (f"`{name}` ({_type(rules)}): {rules['description']}" for name, rules in schema["properties"].items())
    parts = [_HEAD, f"## Kafka: `{letters}`\n", "A refused message, as JSON. Every field is present.\n", _list(fields)]
    parts.append(_STORE)
    known: set[Column] = set()
    for name, one in MEASUREMENTS.items():
        parts += [f"### InfluxDB: `{name}`\n", _wrapped(f"{one.meaning}. Time: {one.time}. One point per {one.per}.")]
        parts.append(_list(_columns(one.columns, known)))
        known.update(one.columns)
    return "\n".join(parts)


def _columns(columns: Sequence[Column], known: Set[Column]) -> Iterator[str]:
    """Columns of one meaning share a line, and so do those that an earlier measurement has described."""
    if again := [column.name for column in columns if column in known]:
        yield f"{_names(again)}: as above"
    new = (column for column in columns if column not in known)
    for (kind, unit, meaning), group in groupby(new, key=lambda column: (column.kind, column.unit, column.meaning)):
        words = ", ".join(filter(None, ({"tag": "tag", "string": "text"}.get(kind), unit)))
        yield f"{_names(column.name for column in group)}{words and f' ({words})'}: {meaning}"


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _list(lines: Iterable[str]) -> str:
    """A list in Markdown."""
    return "".join(_wrapped(f"- {line}") for line in lines)


def _wrapped(line: str) -> str:
    indent = "  " * line.startswith("- ")
    return fill(line, 119, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False) + "\n"


def _type(rules: Mapping[str, Any]) -> str:
    """A field's rules in words."""
    if "anyOf" in rules:
        return " or ".join(_type(one) for one in rules["anyOf"])
    if "enum" in rules:
        return ", ".join(f"`{one}`" for one in rules["enum"])
    words = {"date-time": "RFC 3339", "base64": "base64"}.get(rules.get("contentEncoding", rules.get("format")))
    words = words or {"string": "text"}.get(rules["type"], rules["type"])
    return f"{words}, a slug" if "pattern" in rules and rules.get("format") is None else words

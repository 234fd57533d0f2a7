"""`docs/reference/data-dictionary.md`: every field that enters and leaves the product, made from the types."""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import groupby
from textwrap import fill
from typing import Any

from schemas.measurements import MEASUREMENTS, Column

_HEAD = """# Data dictionary

Every field that enters and leaves, made by `python -m schemas`; do not edit. The words are explained in
[schemas/README.md](../../schemas/README.md#words).
"""
_STORE = """## The store

A tag is text. A field is a float unless it says *text*. The time of a point is its moment rounded down to the tick (a
minute by default), or the hour of the forecast. So a repeated batch overwrites its own points.
"""


def data_dictionary(topics: Mapping[str, tuple[str, Mapping[str, Any]]]) -> str:
    """Markdown. topics: topic -> what its messages are, JSON Schema of one."""
    parts = [_HEAD]
    for topic, (words, schema) in topics.items():
        parts += [f"## Kafka: `{topic}`\n", f"{words}\n", _list(map(_topic_field, *_fields(schema)))]
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


def _fields(schema: Mapping[str, Any]) -> tuple[Iterable[str], Iterable[Mapping[str, Any]], Iterable[bool]]:
    rules = schema["properties"]
    return rules.keys(), rules.values(), (name in schema["required"] for name in rules)


def _topic_field(name: str, rules: Mapping[str, Any], is_required: bool) -> str:
    default = "" if rules.get("default") is None else f" `{rules['default']}`"
    words = "required" if is_required else f"default{default}" if default else "optional"
    return f"`{name}` ({_type(rules)}; {words}): {rules.get('description', '')}"


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
    if "minimum" in rules and "maximum" in rules:
        return f"{words}, {rules['minimum']} to {rules['maximum']}"
    if "maxLength" in rules:
        return f"{words}, {rules.get('minLength', 0)} to {rules['maxLength']} characters"
    return f"{words}, a slug" if "pattern" in rules and rules.get("format") is None else words

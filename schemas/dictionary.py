"""`docs/reference/data-dictionary.md`: every field that enters and leaves the product, made from the types."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from schemas.measurements import MEASUREMENTS

_HEAD = """# Data dictionary

Made by `python -m schemas` from `schemas/`; do not edit. What the words mean stands in `schemas/README.md`.
"""


def data_dictionary(topics: Mapping[str, tuple[str, Mapping[str, Any]]]) -> str:
    """Markdown. topics: topic -> what its messages are, JSON Schema of one."""
    parts = [_HEAD]
    for topic, (words, schema) in topics.items():
        parts.append(f"## Kafka: `{topic}`\n\n{words}\n")
        parts.append(_table(("field", "type", "required", "meaning"), _fields(schema)))
    for name, one in MEASUREMENTS.items():
        parts.append(f"## InfluxDB: `{name}`\n\n{one.meaning}.\n\nTime: {one.time}. One point per {one.per}.\n")
        rows = ((f"`{it.name}`", it.kind, it.unit, it.meaning) for it in one.columns)
        parts.append(_table(("column", "kind", "unit", "meaning"), rows))
    return "\n".join(parts)


def _fields(schema: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    for name, rules in schema["properties"].items():
        required = (
            "yes"
            if name in schema["required"]
            else f"no, `{rules['default']}`"
            if rules.get("default") is not None
            else "no"
        )
        yield f"`{name}`", _type(rules), required, rules.get("description", "")


def _type(rules: Mapping[str, Any]) -> str:
    """A field's rules in words."""
    if "anyOf" in rules:
        return " or ".join(_type(one) for one in rules["anyOf"])
    if "enum" in rules:
        return ", ".join(f"`{one}`" for one in rules["enum"])
    words = {"date-time": "time, RFC 3339", "base64": "base64"}.get(rules.get("contentEncoding", rules.get("format")))
    words = words or {"string": "text"}.get(rules["type"], rules["type"])
    if "minimum" in rules and "maximum" in rules:
        return f"{words}, {rules['minimum']} to {rules['maximum']}"
    if "maxLength" in rules:
        return f"{words}, {rules.get('minLength', 0)} to {rules['maxLength']} characters"
    return f"{words}, a slug" if "pattern" in rules and rules.get("format") is None else words


def _table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)

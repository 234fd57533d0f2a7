"""What docs/reference/data-dictionary.md says of the store and of dead letters, as data."""

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "data-dictionary.md").read_text(encoding="utf-8")
_KINDS = {"tag": "tag", "text": "string"}  # of a column; any other is a float with its unit
_ITEM = re.compile(r"^- (`\w+`(?:,\s+`\w+`)*)(?:\s+\(([^)]*)\))?:\s+(.*(?:\n  .*)*)", re.MULTILINE)


def described(heading):
    """Name -> (type or unit, meaning) of each item in the list below a heading."""
    section = re.split(rf"^##+ {re.escape(heading)}\n", PAGE, flags=re.MULTILINE)[1].split("\n##")[0]
    assert section.count("\n- ") == len(_ITEM.findall(section))
    items = [
        (name, (kind, " ".join(meaning.split())))
        for names, kind, meaning in _ITEM.findall(section)
        for name in re.findall(r"\w+", names)
    ]
    assert len(dict(items)) == len(items)  # each is described once
    return dict(items)


def measurements():
    """Measurement -> column -> kind: tag, string or float."""
    found, known = {}, {}
    for name in re.findall(r"^### InfluxDB: `(\w+)`", PAGE, re.MULTILINE):
        found[name] = {
            column: known[column] if meaning == "as above" else _KINDS.get(kind, "float")
            for column, (kind, meaning) in described(f"InfluxDB: `{name}`").items()
        }
        known |= found[name]
    return found

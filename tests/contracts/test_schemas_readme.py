"""The pages for producers say what the types say."""

import json
import re
from pathlib import Path

import msgspec

import schemas
from schemas.event import ORIGINS, REASONS, Event
from schemas.limits import MAX_EVENT_BYTES

FOLDER = Path(schemas.__file__).parent
TEXT = (FOLDER / "README.md").read_text(encoding="utf-8")
NAMES = (FOLDER.parent / "docs" / "reference" / "names-elsewhere.md").read_text(encoding="utf-8")


def table_after(heading, text=TEXT):
    """The rows of the first table after a heading, header and rule left out."""
    lines = text[text.index(heading) :].split("\n")
    start = next(at for at, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            return rows
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return rows


def names(cell):
    return re.findall(r"`([^`]+)`", cell)


def test_the_table_of_fields_is_the_event():
    rows = table_after("## For the programmer of a producer")
    told = [(name, required == "yes") for fields, _, required, _ in rows for name in names(fields)]
    assert told == [(field.name, field.required) for field in msgspec.structs.fields(Event)]


def test_the_table_of_fields_tells_the_limits_of_the_schema():
    schema = json.loads((FOLDER / "event.schema.json").read_text(encoding="utf-8"))["properties"]
    described = {name: row[1] for row in table_after("## For the programmer") for name in names(row[0])}
    assert names(described["origin"]) == list(ORIGINS)
    assert sorted(names(described["status"])) == schema["status"]["enum"]
    assert str(schema["revision"]["maximum"]) in described["revision"]
    assert f"1 to {schema['incident_id']['maxLength']} " in described["incident_id"]
    for name, limit in (("type_code", "maxLength"), ("priority", "maximum"), ("accuracy_m", "maximum")):
        assert str(schema[name]["anyOf"][0][limit]) in described[name]
    assert f"{MAX_EVENT_BYTES:,} bytes" in TEXT


def test_every_field_has_its_names_elsewhere():
    rows = table_after("# Names in other systems", NAMES)
    assert {name for row in rows for name in names(row[0])} == set(Event.__struct_fields__)


def test_every_reason_is_explained():
    section = TEXT.partition("## When a message is refused")[2].partition("\n#")[0]
    assert re.findall(r"^- `([a-z_]+)`: ", section, re.MULTILINE) == list(REASONS)


def test_the_event_on_the_page_is_an_example():
    [block] = re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)
    assert json.loads(block) == json.loads((FOLDER / "examples" / "good" / "new_incident.json").read_bytes())

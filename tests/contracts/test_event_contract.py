"""Two judges of one contract: the checked-in JSON Schema and the decoder. The decoder may be stricter, never laxer."""

import json
import re
from datetime import datetime
from pathlib import Path

import jsonschema
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import schemas
from schemas.decode import MAX_DEPTH, decode_messages
from schemas.event import REASONS, Event
from schemas.limits import MAX_EVENT_BYTES
from streaming.rehearse.incident_replay import poison_messages, template_event
from tests.harness.toy import RIVERTON, toy_messages

FOLDER = Path(schemas.__file__).parent
GOOD = sorted((FOLDER / "examples" / "good").glob("*.json"))
BAD = sorted((FOLDER / "examples" / "bad").glob("*.json"))
KAFKA_TIME_MS = 1_773_477_600_000  # 2026-03-14T08:40:00Z
REGIONS = {"riverton": RIVERTON}

# What only the decoder can see, and why: a bad example, or all of a reason.
STRICTER = {
    "bad_time--day_that_does_not_exist": "a pattern knows no calendar",
    "future": "a schema has no clock",
    "late": "a schema has no clock",
    "outside_grid": "a schema does not know the grid",
    "schema--id_with_a_control_character": "kept out of log lines and terminals; as a pattern it would be unreadable",
    "schema--key_stands_twice": "a schema is asked after the parser has dropped the first of them",
    "schema--key_stands_twice_with_one_value": "the same",
    "schema--revision_with_a_decimal_point": "1.0 is an integer for JSON Schema, not for a typed decoder",
    "unknown_category--not_in_the_spec": "a schema does not know the spec",
    "unknown_region--not_scored_here": "a schema does not know the deployment",
}

# The same for any message: what the decoder may refuse although the schema accepts it, by reason and detail.
STRICTER_CAUSES = {
    "bad_time": r"(occurred_at|received_at) is not an RFC 3339 time with an offset",  # 30 February, year 0
    "future": r"more than 300 s ahead of its arrival",
    "late": r"more than 86400 s before its arrival",
    "outside_grid": r"the place lies outside the region's grid",
    "unknown_category": r"the region's spec has no such category",
    "unknown_region": r"no artifact of this deployment has this region",
    "schema": r"incident_id holds a character that cannot be printed|key '\w+' appears more than once"
    r"|Expected `int( \| null)?`, got `float` - at `\$\.(revision|priority)`",  # 1.0 is an integer for JSON Schema
    "not_json": r"the value is not one JSON text in UTF-8",  # only half of a surrogate pair, which is no character
    "person_field": r"a field that may describe a person; the payload is not kept",  # a record inside a text
}

SCHEMA = json.loads((FOLDER / "event.schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)  # `format` is a hint: what it enforces depends on what is installed


def decode(*values):
    return decode_messages(toy_messages(values, KAFKA_TIME_MS), REGIONS)


def outcomes(decoded):
    """(offset, None or the rejection) of every outcome, in the order of the offsets."""
    accepted = [(offset, None) for part in decoded.incidents.values() for offset in part.kafka_offset.tolist()]
    refused = [(refusal.kafka_offset, refusal) for part in decoded.rejections.values() for refusal in part]
    return sorted(accepted + refused, key=lambda outcome: outcome[0])


def decoder_says(value):
    [(_, refusal)] = outcomes(decode(value))
    return refusal


def schema_accepts(value, validator=VALIDATOR):
    def refuse_constant(name):
        raise ValueError(name)

    try:
        return validator.is_valid(json.loads(value.decode("utf-8"), parse_constant=refuse_constant))
    except (ValueError, RecursionError):  # no field takes a value that is nested at all
        return False


def test_the_schema_is_a_valid_schema_and_closed():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["additionalProperties"] is False
    assert list(SCHEMA["properties"]) == list(Event.__struct_fields__)


def test_a_good_example_is_accepted_by_both():
    for path in GOOD:
        assert schema_accepts(path.read_bytes()), path.stem
        assert decoder_says(path.read_bytes()) is None, path.stem


def test_a_bad_example_is_refused_for_the_reason_in_its_name_and_by_the_schema_unless_we_say_why():
    for path in BAD:
        reason = path.stem.split("--")[0]
        assert decoder_says(path.read_bytes()).reason == reason, path.stem
        assert schema_accepts(path.read_bytes()) == bool(STRICTER.keys() & {path.stem, reason}), path.stem


def test_the_bad_examples_show_every_reason_that_a_file_can_show():
    shown = {path.stem.split("--")[0] for path in BAD}
    assert shown == set(REASONS) - {"null_value", "too_large"}
    assert set(STRICTER) <= {path.stem for path in BAD} | shown


# --- Any bytes at all -------------------------------------------------------------------------------------------

CANARY = "K4N4RY"
EVENTS = [json.loads(path.read_bytes()) for path in GOOD]
POISONS = [poison.value for poison in poison_messages(template_event(RIVERTON, as_of_s=KAFKA_TIME_MS // 1000))]
CORPUS = [path.read_bytes() for path in (*GOOD, *BAD)] + [value for value in POISONS if value and len(value) < 3000]
events = st.sampled_from(EVENTS)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from([0, -1, 2**31 - 1, 2**31, 9, 10, 90, 90.0000001, -0.0, 1e308, 41.5, -87.6]),
    st.text(max_size=200),
    st.text(st.characters(categories=["Cs", "Cc", "Ll"]), max_size=8),  # halves of surrogate pairs
    st.sampled_from(["open", "sensor", "riverton", "medical", "2026-03-14T07:41:05Z", "2026-03-14 07:41:05+0000"]),
    st.from_regex(SCHEMA["properties"]["occurred_at"]["pattern"], fullmatch=True),
    st.sampled_from([f"'{CANARY}'", f'"{CANARY}" - at `$.x`', f"a'b\"{CANARY}\"c'd", f"{CANARY}\n`{CANARY}`"]),
)
anything = st.recursive(leaves, lambda it: st.lists(it, max_size=3) | st.dictionaries(st.text(), it, max_size=3))
field_names = st.sampled_from(Event.__struct_fields__)
new_names = st.one_of(st.text(max_size=20), st.sampled_from(["schema_version", "Lat", CANARY, f"'{CANARY}"]))


@st.composite
def altered_records(draw):
    """A valid event with some fields dropped, altered, added or given twice, as text."""
    record = {**draw(events)}
    for name in draw(st.lists(field_names, max_size=2)):
        record.pop(name, None)
    record |= draw(st.dictionaries(field_names, anything, max_size=2))
    record |= draw(st.dictionaries(new_names, anything, max_size=1))
    pairs = list(record.items()) + draw(st.lists(st.sampled_from(list(record.items()) or [("lat", 1)]), max_size=1))
    ascii_only = draw(st.booleans())
    text = ",".join(f"{json.dumps(key)}:{json.dumps(value, ensure_ascii=ascii_only)}" for key, value in pairs)
    return ("{" + text + "}").encode("utf-8", errors="surrogatepass")


@st.composite
def mangled_bytes(draw):
    """The bytes of an event or a poison: flipped, cut, spliced, repeated in part, or with some put in."""
    value, other = bytearray(draw(st.sampled_from(CORPUS))), draw(st.sampled_from(CORPUS))
    for _ in range(draw(st.integers(1, 3))):
        start = draw(st.integers(0, len(value)))
        end = draw(st.integers(start, min(len(value), start + 40)))
        match draw(st.sampled_from(["flip", "cut", "drop", "splice", "repeat", "insert"])):
            case "flip" if start < len(value):
                value[start] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del value[start:]
            case "drop":
                del value[start:end]
            case "splice":
                value[start:] = other[start:]
            case "repeat":
                value[end:end] = value[start:end]
            case _:
                value[start:start] = draw(st.binary(max_size=6) | st.sampled_from([b"\0", b'"', b"\\", b"e9", b"\xff"]))
    return bytes(value)


@st.composite
def nested(draw):
    """Arrays and objects in one another, up to the deepest that 8 KiB can hold, closed or not."""
    opening, closing = draw(st.sampled_from([(b"[", b"]"), (b'{"a":', b"}"), (b'[{"":', b"}]"), (b'{"name":[', b"]}")]))
    depth = draw(st.integers(1, (MAX_EVENT_BYTES + 100) // (len(opening) + len(closing))))
    inside = opening * depth + draw(st.sampled_from([b"", b"1", b"null"])) + closing * draw(st.sampled_from([depth, 0]))
    return inside if draw(st.booleans()) else b'{"incident_id":' + inside + b"}"


messages = st.one_of(altered_records(), mangled_bytes(), nested(), st.binary(max_size=64), st.none())


def judge(value):
    """Everything that holds for one message, whatever it is. Also what `tests/fuzz/decoder.py` asks of each input."""
    first, second = decode(value), decode(value)
    [(_, refusal)] = outcomes(first)
    assert outcomes(second) == outcomes(first)
    packed = {region: part.pack() for region, part in first.incidents.items()}
    assert packed == {region: part.pack() for region, part in second.incidents.items()}
    valid = value is not None and schema_accepts(value)
    if refusal is None:
        assert valid
        pairs = json.loads(value, object_pairs_hook=list)
        assert len(pairs) == len(dict(pairs))  # no key stands twice
        agrees_with_its_json(first.incidents["riverton"], dict(pairs))
        return None
    assert refusal.reason in REASONS
    assert refusal.payload == (None if refusal.reason in ("person_field", "too_large", "null_value") else value)
    assert (refusal.reason == "too_large") == (value is not None and len(value) > MAX_EVENT_BYTES)
    if valid and refusal.reason != "too_large":
        assert re.fullmatch(STRICTER_CAUSES.get(refusal.reason, "none"), refusal.detail), refusal
        assert refusal.reason != "not_json" or re.search(rb"\\u[dD][89a-fA-F]", value)
    return refusal


def agrees_with_its_json(incidents, record):
    """An incident says what Python's own JSON and time say, and nothing in it is out of range."""
    at = datetime.fromisoformat(record["occurred_at"].upper()).timestamp()
    assert len(incidents) == 1
    assert abs(int(incidents.occurred_s[0]) - at) <= 1  # digits beyond the microsecond are rounded here, cut there
    assert incidents.revision.tolist() == [record.get("revision", 0)]
    assert incidents.category.tolist() == [RIVERTON.categories.index(record["category"])]
    counts = record["origin"] in RIVERTON.counted_origins
    assert incidents.flags.tolist() == [counts + 2 * (record.get("status") == "cancelled")]
    [(west, south), _, (east, north), *_] = RIVERTON.grid.polygon(int(incidents.cell[0]))
    assert west <= record["lon"] < east
    assert south <= record["lat"] < north
    received_s = int(incidents.received_ms[0]) / 1000
    assert -RIVERTON.late_limit_s - 1 <= at - received_s <= RIVERTON.future_limit_s + 1
    assert received_s <= KAFKA_TIME_MS / 1000 + RIVERTON.future_limit_s


@pytest.mark.fault("F11")
def test_every_example_and_every_poison_is_judged_alike():
    for value in (*CORPUS, *POISONS):
        judge(value)


@pytest.mark.fault("F11")
@settings(max_examples=400, deadline=None)
@given(messages)
@example(b'{"lat":' + b"1" * 5000 + b"}")
@example(b"[" * 2000)
@example(json.dumps({**EVENTS[0], "origin": f"a'b\"{CANARY}\"c'd"}).encode())
@example(json.dumps({**EVENTS[0], "incident_id": "\ud800"}).encode())
@example(b'{"occurred_at":"2026-03-14T07:41:0ton",' + json.dumps(EVENTS[0]).encode()[1:])  # found by the fuzzer
@example(b'{"status":{"K4N4RY":1,"K4N4RY":1},' + json.dumps(EVENTS[0]).encode()[1:])
@example(b'{"status":{"K4N4RY":1,"K4N4RY":1},"lat":' + b"1" * 5000 + b"," + json.dumps(EVENTS[0]).encode()[1:])
def test_any_message_has_one_outcome_the_same_twice_and_never_one_that_the_schema_refuses(value):
    refusal = judge(value)
    assert refusal is None or CANARY not in refusal.detail


@pytest.mark.parametrize("depth", [100, 101, 930, 990, 2000])
@pytest.mark.parametrize("value", [b'{"a":%s}', b"%s", b'{"region":"riverton","a":%s,"region":"elsewhere"}'])
def test_how_a_deep_message_fares_does_not_depend_on_who_decodes_it(depth, value):
    def below(frames):
        return below(frames - 1) if frames else decoder_says(value % (b"[" * depth + b'"[[["' + b"]" * depth))

    assert below(0) == below(60) == below(300)
    too_deep = depth + value.startswith(b"{") > MAX_DEPTH
    assert (below(0).detail == f"values are nested more than {MAX_DEPTH} deep") == too_deep


@settings(max_examples=100, deadline=None)
@given(st.lists(messages, max_size=12))
def test_a_message_fares_the_same_alone_and_among_others(values):
    together = decode(*values)
    alone = [decoder_says(value) for value in values]
    assert [offset for offset, _ in outcomes(together)] == list(range(len(values)))
    reasons = [refusal and (refusal.reason, refusal.detail) for _, refusal in outcomes(together)]
    assert reasons == [refusal and (refusal.reason, refusal.detail) for refusal in alone]

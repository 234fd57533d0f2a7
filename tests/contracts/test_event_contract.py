"""Two judges of one contract: the checked-in JSON Schema and the decoder. The decoder may be stricter, never laxer."""

import json
import time
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import schemas
from schemas.decode import Messages, Vocabulary, decode_messages
from schemas.event import REASONS, Event
from schemas.grid import Grid
from schemas.limits import MAX_EVENT_BYTES
from schemas.spec import Spec

FOLDER = Path(schemas.__file__).parent
GOOD = sorted((FOLDER / "examples" / "good").glob("*.json"))
BAD = sorted((FOLDER / "examples" / "bad").glob("*.json"))
KAFKA_TIME_MS = 1_773_477_600_000  # 2026-03-14T08:40:00Z
SPEC = Spec(
    region="riverton",
    timezone="America/Chicago",
    grid=Grid(south_deg=41.3, west_deg=-87.9, cell_m=1000, rows=48, cols=48),
    categories=("traffic_injury", "structure_fire", "medical"),
    features=(),
)
REGIONS = {"riverton": Vocabulary.of(SPEC)}

# What only the decoder can see, and why.
STRICTER = {
    "bad_time--day_that_does_not_exist": "a pattern knows no calendar",
    "future--received_after_kafka_got_it": "a schema has no clock",
    "future--year_2099": "a schema has no clock",
    "late--epoch_zero": "a schema has no clock",
    "outside_grid--latitude_and_longitude_swapped": "a schema does not know the grid",
    "outside_grid--zero_zero": "a schema does not know the grid",
    "schema--id_with_a_control_character": "kept out of log lines and terminals; as a pattern it would be unreadable",
    "schema--key_stands_twice": "a schema is asked after the parser has dropped the first of them",
    "schema--revision_with_a_decimal_point": "1.0 is an integer for JSON Schema, not for a typed decoder",
    "unknown_category--not_in_the_spec": "a schema does not know the spec",
    "unknown_region--not_scored_here": "a schema does not know the deployment",
}

SCHEMA = json.loads((FOLDER / "event.schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker())


def decode(*values):
    messages = Messages(
        values=values,
        partition=np.zeros(len(values), np.int32),
        kafka_offset=np.arange(len(values), dtype=np.int64),
        kafka_time_ms=np.full(len(values), KAFKA_TIME_MS),
    )
    return decode_messages(messages, REGIONS)


def outcomes(decoded):
    """(offset, None or the rejection) of every outcome, in the order of the offsets."""
    accepted = [(offset, None) for part in decoded.incidents.values() for offset in part.kafka_offset.tolist()]
    refused = [(one.kafka_offset, one) for part in decoded.rejections.values() for one in part]
    return sorted(accepted + refused, key=lambda outcome: outcome[0])


def decoder_says(value):
    [(_, refusal)] = outcomes(decode(value))
    return refusal


def schema_accepts(value):
    def refuse_constant(name):
        raise ValueError(name)

    try:
        record = json.loads(value.decode("utf-8"), parse_constant=refuse_constant)
    except (ValueError, RecursionError):
        return False
    return VALIDATOR.is_valid(record)


def test_the_schema_is_a_valid_schema_and_closed():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["additionalProperties"] is False
    assert list(SCHEMA["properties"]) == list(Event.__struct_fields__)


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.stem)
def test_a_good_example_is_accepted_by_both(path):
    assert schema_accepts(path.read_bytes())
    assert decoder_says(path.read_bytes()) is None


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_bad_example_is_refused_for_the_reason_in_its_name(path):
    assert decoder_says(path.read_bytes()).reason == path.stem.split("--")[0]


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_bad_example_passes_the_schema_only_where_we_say_why(path):
    assert schema_accepts(path.read_bytes()) == (path.stem in STRICTER)


def test_the_bad_examples_show_every_reason_that_a_file_can_show():
    shown = {path.stem.split("--")[0] for path in BAD}
    assert shown == set(REASONS) - {"null_value", "too_large"}
    assert set(STRICTER) <= {path.stem for path in BAD}


# --- Any bytes at all -------------------------------------------------------------------------------------------

CANARY = "K4N4RY"
EVENTS = [json.loads(path.read_bytes()) for path in GOOD]
events = st.sampled_from(EVENTS)
leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.sampled_from([0, -1, 2**31 - 1, 2**31, 9, 10, 90, 90.0000001, -0.0, 1e308, 41.5, -87.6]),
    st.text(max_size=200),
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
    """The bytes of a valid event: flipped, cut, spliced with another, repeated in part, or with some put in."""
    value = bytearray(json.dumps(draw(events)).encode())
    other = json.dumps(draw(events)).encode()
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


messages = st.one_of(altered_records(), mangled_bytes(), st.binary(max_size=64), st.none())


@settings(max_examples=400, deadline=None)
@given(messages)
@example(b'{"lat":' + b"1" * 5000 + b"}")
@example(b"[" * 2000)
@example(json.dumps({**EVENTS[0], "origin": f"a'b\"{CANARY}\"c'd"}).encode())
def test_any_message_has_one_outcome_the_same_twice_and_never_one_that_the_schema_refuses(value):
    first, second = decode(value), decode(value)
    [(_, refusal)] = outcomes(first)
    assert outcomes(second) == outcomes(first)
    assert {r: part.pack() for r, part in first.incidents.items()} == {
        r: part.pack() for r, part in second.incidents.items()
    }
    if refusal is None:
        assert schema_accepts(value)
        return
    assert refusal.reason in REASONS
    assert refusal.payload == (None if refusal.reason in ("person_field", "too_large", "null_value") else value)
    assert CANARY not in refusal.detail


@settings(max_examples=100, deadline=None)
@given(st.lists(messages, max_size=12))
def test_a_message_fares_the_same_alone_and_among_others(values):
    together = decode(*values)
    alone = [decoder_says(value) for value in values]
    assert [offset for offset, _ in outcomes(together)] == list(range(len(values)))
    reasons = [refusal and (refusal.reason, refusal.detail) for _, refusal in outcomes(together)]
    assert reasons == [refusal and (refusal.reason, refusal.detail) for refusal in alone]


# --- Persons ----------------------------------------------------------------------------------------------------

PERSON_KEYS = """
    name Name FULL_NAME firstName last-name caller callerName Caller-Phone phone phoneNumber mobile email e-mail DOB
    dob dateOfBirth birth_date age Sex gender race Race ethnicity religion nationality SSN social_security_no passport
    driver_license licencePlate plate VIN address home_addr street suspect victimAge offenderId witness complainant
    patient patientMRN person arrestee officerId badge_no face photoUrl fingerprint insuranceNo account narrative
    description remarks comment notes free_text
"""


@pytest.mark.parametrize("key", PERSON_KEYS.split())
@pytest.mark.parametrize("shape", ["top", "nested", "in a list", "cut off", "NaN beside it", "UTF-16", "single quotes"])
def test_a_field_that_may_describe_a_person_is_refused_and_its_payload_dropped(key, shape):
    line = json.dumps({**EVENTS[0], key: CANARY})
    value = {
        "top": line,
        "nested": json.dumps({**EVENTS[0], "extra": {"a": [{key: CANARY}]}}),
        "in a list": json.dumps([{key: CANARY}]),
        "cut off": line[:-1],
        "NaN beside it": line.replace("41.5231", "NaN"),
        "UTF-16": line,
        "single quotes": line.replace('"', "'"),
    }[shape].encode("utf-16" if shape == "UTF-16" else "utf-8")
    refusal = decoder_says(value)
    assert (refusal.reason, refusal.payload) == ("person_field", None)
    assert CANARY not in refusal.detail


@pytest.mark.parametrize(
    "key", ["trace_id", "surface", "stage", "template_version", "sexton", "agency", "unit", "beat"]
)
def test_a_word_that_only_contains_such_a_word_is_an_unknown_field(key):
    assert decoder_says(json.dumps({**EVENTS[0], key: 1}).encode()).reason == "unknown_field"


def test_no_message_is_slow_to_refuse():
    hostile = [
        b"[" * 8192,
        b'{"a":' * 1600,
        b" \n" * 4096,
        b"a " * 4096,
        b"a\n" * 4096,
        b"'" * 8192,
        b'"' + b"a" * 8190,
    ]
    hostile += [
        b" a:" * 2730,
        b"A" * 8192,
        b'{"' + b"aA" * 4000 + b'":1}',
        b"\\" * 8192,
        b'"\\u0000' * 1024,
        b"9" * 8192,
    ]
    for value in hostile:
        began = time.process_time()
        assert len(value) <= MAX_EVENT_BYTES
        assert decoder_says(value) is not None
        assert time.process_time() - began < 0.5

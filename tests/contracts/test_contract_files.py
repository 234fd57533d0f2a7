"""What is really written fits the generated files."""

import base64
import json
from datetime import datetime
from pathlib import Path

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

import schemas
from docs.written import contract_documents
from schemas.event import REASONS, Event
from schemas.incidents import DeadLetter, Rejection, encode_dead_letter
from schemas.limits import MAX_EVENT_BYTES
from streaming.settings import Settings

FOLDER = Path(schemas.__file__).parent
DOCUMENT = json.loads((FOLDER / "asyncapi.json").read_text(encoding="utf-8"))
LETTER_SCHEMA = DOCUMENT["components"]["schemas"]["DeadLetter"]


def references(node):
    if isinstance(node, dict):
        yield from ([node["$ref"]] if "$ref" in node else [])
        node = list(node.values())
    if isinstance(node, list):
        for part in node:
            yield from references(part)


@pytest.mark.parametrize("reference", sorted(set(references(DOCUMENT))))
def test_every_reference_leads_somewhere(reference):
    node = DOCUMENT
    for step in reference.removeprefix("#/").split("/"):
        node = node[step]
    assert node


def test_no_generated_file_refers_to_a_host_except_for_the_dialect_of_json_schema():
    for text in contract_documents().values():
        assert text.replace("https://json-schema.org/draft/2020-12/schema", "").count("://") == 0


def test_the_topics_are_the_defaults_of_the_settings():
    topics = {channel["address"] for channel in DOCUMENT["channels"].values()}
    fields = Settings.model_fields
    defaults = {fields[name].default for name in ("topic", "dead_letter_topic", "feedback_topic")}
    assert defaults == {"incidents.v1", "incidents.v1.dlq", "feedback.v1"}
    assert topics == defaults


def test_the_largest_message_is_the_decoders():
    event = DOCUMENT["components"]["messages"]["event"]
    assert event["x-max-value-bytes"] == MAX_EVENT_BYTES
    assert f"at most {MAX_EVENT_BYTES} bytes" in event["summary"]


def test_the_kafka_key_is_described_like_the_incident_id():
    key = DOCUMENT["components"]["messages"]["event"]["bindings"]["kafka"]["key"]
    field = DOCUMENT["components"]["schemas"]["Event"]["properties"]["incident_id"]
    assert {name: key[name] for name in ("type", "minLength", "maxLength")} == {
        name: field[name] for name in ("type", "minLength", "maxLength")
    }


@pytest.mark.parametrize("message", ["event", "deadLetter"])
def test_the_examples_fit_their_schema(message):
    described = DOCUMENT["components"]["messages"][message]
    schema = DOCUMENT["components"]["schemas"][described["payload"]["$ref"].rsplit("/", 1)[1]]
    assert described["examples"]
    for example in described["examples"]:
        jsonschema.Draft202012Validator(schema).validate(example["payload"])
        msgspec.convert(example["payload"], {"event": Event, "deadLetter": DeadLetter}[message])


rejections = st.builds(
    Rejection,
    reason=st.sampled_from(REASONS),
    detail=st.text(max_size=200),
    partition=st.integers(0, 2**31 - 1),
    kafka_offset=st.integers(0, 2**63 - 1),
    kafka_time_ms=st.integers(-(2**63), 2**63 - 1) | st.integers(-1, 2_000_000_000_000),
    payload=st.none() | st.binary(max_size=MAX_EVENT_BYTES),
)


@given(rejections, st.none() | st.just("riverton"))
def test_any_rejection_becomes_a_dead_letter_that_fits_the_schema(rejection, region):
    letter = json.loads(encode_dead_letter(rejection, source_topic="incidents.v1", region=region))
    jsonschema.Draft202012Validator(LETTER_SCHEMA).validate(letter)
    assert (letter["reason"], letter["detail"], letter["region"]) == (rejection.reason, rejection.detail, region)
    assert (letter["source_partition"], letter["source_offset"]) == (rejection.partition, rejection.kafka_offset)
    if rejection.reason == "person_field" or rejection.payload is None:
        assert letter["payload_base64"] is None
    else:
        assert base64.b64decode(letter["payload_base64"], validate=True) == rejection.payload
    if 0 <= rejection.kafka_time_ms < 253_402_300_800_000:
        told_s = datetime.fromisoformat(letter["source_time"]).timestamp()
        assert told_s == pytest.approx(rejection.kafka_time_ms / 1000, abs=1e-4)
    else:
        assert letter["source_time"] is None


def test_a_dead_letter_shows_all_its_fields_and_a_reader_of_version_1_knows_it():
    assert LETTER_SCHEMA["required"] == list(DeadLetter.__struct_fields__)
    assert LETTER_SCHEMA["properties"]["schema_version"]["enum"] == [1]
    assert sorted(LETTER_SCHEMA["properties"]["reason"]["enum"]) == sorted(REASONS)

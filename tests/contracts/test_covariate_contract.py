"""Two judges of the contract of outside series: the checked-in JSON Schema and the decoder, which may be stricter."""

import json
from functools import partial
from pathlib import Path

import jsonschema
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import schemas
from schemas.covariate import PLACED_VALUE, Covariate, decode_covariate, decode_covariates, without_place
from schemas.event import REASONS
from schemas.spec import CovariateSeries
from tests.contracts import test_event_contract
from tests.harness.toy import RIVERTON, toy_messages

FOLDER = Path(schemas.__file__).parent
GOOD = sorted((FOLDER / "examples" / "covariates" / "good").glob("*.json"))
BAD = sorted((FOLDER / "examples" / "covariates" / "bad").glob("*.json"))
VALIDATOR = jsonschema.Draft202012Validator(json.loads((FOLDER / "covariate.schema.json").read_bytes()))
NAMES = ("stadium-visitors", "temperature_c")
SPEC = msgspec.structs.replace(
    RIVERTON, covariates=tuple(CovariateSeries(name=name, max_age_hours=24) for name in NAMES)
)
TIME_MS = 1_773_477_600_000
# What only the decoder can see, and why
STRICTER = {
    "bad_time--half_past": "a pattern does not know the hours of UTC",
    "schema--key_stands_twice": "a schema is asked after the parser has dropped the first of them",
    "unknown_category--series_not_in_the_spec": "a schema does not know the spec",
    "unknown_region--not_scored_here": "a schema does not know the deployment",
}


def decode(*values, **places):
    return decode_covariates(toy_messages(values, TIME_MS, **places), {"riverton": SPEC})


schema_accepts = partial(test_event_contract.schema_accepts, validator=VALIDATOR)


def test_both_accept_the_good_examples():
    for path in GOOD:
        accepted, refused = decode(path.read_bytes())
        assert (len(accepted["riverton"]), refused) == (1, {}), path.stem
        assert schema_accepts(path.read_bytes()), path.stem


@pytest.mark.parametrize("path", BAD, ids=lambda path: path.stem)
def test_a_bad_example_is_refused_for_the_reason_in_its_name(path):
    accepted, refused = decode(path.read_bytes())
    [(region, [rejection])] = refused.items()
    assert not accepted
    assert rejection.reason == path.stem.partition("--")[0]
    assert rejection.reason in REASONS
    assert region == ("" if rejection.reason == "unknown_region" else "riverton")
    assert rejection.payload == (None if rejection.reason == "person_field" else path.read_bytes())
    assert schema_accepts(path.read_bytes()) == (path.stem in STRICTER)


def test_what_a_value_becomes():
    record = {
        "region": "riverton",
        "series": "temperature_c",
        "issued_at": "1970-01-02T00:00:00.000001Z",  # rounded up: it was not known at midnight
        "valid_at": "1970-01-02T05:30:00+05:30",
        "value": -3,
    }
    accepted, refused = decode(b"{}", json.dumps(record).encode(), partition=7, offset=[40, 41])
    [row] = accepted["riverton"].tolist()
    assert row == (1, 24, 86_401, -3.0, 7, 41, TIME_MS)
    assert [(rejection.reason, rejection.kafka_offset) for rejection in refused[""]] == [("schema", 40)]
    assert without_place(accepted["riverton"]).tolist() == [(1, 24, 86_401, -3.0)]
    assert accepted["riverton"].dtype == PLACED_VALUE


@given(
    st.fixed_dictionaries(
        {
            "region": st.sampled_from(["riverton", "atlantis", "Not a slug"]),
            "series": st.sampled_from([*NAMES, "wind", "Not a slug"]),
            "issued_at": st.sampled_from(["2026-03-14T06:10:00Z", "2026-03-14 06:10:00+0500", "2026-03-14", 7, None]),
            "valid_at": st.sampled_from(["2026-03-14T06:00:00Z", "2026-03-14T06:30:00+05:30", "2026-02-30T06:00:00Z"]),
            "value": st.sampled_from([0, -1e9, 1.5, 1_000_000_001, "1", None, True]),
        },
        optional={"unit": st.just("C")},
    )
)
def test_the_decoder_is_never_laxer_than_the_schema(record):
    value = json.dumps(record).encode()
    accepted, refused = decode(value)
    assert len(accepted) + len(refused) == 1
    if accepted:
        assert schema_accepts(value)
        assert isinstance(decode_covariate(value), Covariate)
        assert accepted["riverton"]["value"] == np.float64(record["value"])

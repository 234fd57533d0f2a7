"""Decoding by shape beside the loop that reads each message: the same columns and refusals, to the byte."""

import json
from dataclasses import fields
from unittest.mock import patch

import msgspec
import numpy as np
import pytest

from benchmarks.traffic import bench_specs, synthetic_events
from schemas import decode
from schemas.decode_by_shape import read_by_shape
from schemas.incidents import Incidents
from streaming.rehearse.incident_replay import poison_messages, template_event
from tests.harness.toy import toy_messages

NOW_S = 1_800_000_000
SPECS = {
    spec.region: msgspec.structs.replace(spec, categories=(*spec.categories, "accident")) for spec in bench_specs(3)
}
GOOD = [value for _, value in synthetic_events(list(SPECS.values()), 2_000, seed=1, as_of_s=NOW_S)]
BAD = [poison.value for spec in SPECS.values() for poison in poison_messages(template_event(spec, as_of_s=NOW_S))]


def judged(values, *, by_shape):
    messages = toy_messages(values, NOW_S * 1000)
    with (
        patch.object(decode, "LEAST_MESSAGES", 1 if by_shape else len(values) + 1),
        patch("schemas.decode_by_shape._LEAST_OF_A_SHAPE", 1),
    ):
        return decode.decode_messages(messages, SPECS, now_ms=NOW_S * 1000)


def assert_both_ways_agree(values):
    fast, slow = judged(values, by_shape=True), judged(values, by_shape=False)
    assert fast.rejections == slow.rejections
    assert list(fast.incidents) == list(slow.incidents)
    for region, columns in slow.incidents.items():
        for field in fields(Incidents):
            expected, got = getattr(columns, field.name), getattr(fast.incidents[region], field.name)
            assert got.dtype == expected.dtype, field.name
            assert got.tobytes() == expected.tobytes(), field.name


def readings_of(values):
    """What the messages say that are read by shape, by shape."""
    messages = toy_messages(values, NOW_S * 1000)
    with patch("schemas.decode_by_shape._LEAST_OF_A_SHAPE", 1):
        return read_by_shape(messages.data, messages.ends, messages.missing, SPECS, decode._is_event)


def read_at_once(values):
    """How many of the messages are read by shape."""
    return sum(len(part.index) for part in readings_of(values))


def mutated(random, messages, count):
    """Each time a message with one byte changed, left out or put in, of those that JSON is written with, or any."""
    telling = np.frombuffer(b'"\\{}[]:,.-+eE0123456789TZtz \n\0\x1f\x7f\x80\xc3\xff', np.uint8)
    for _ in range(count):
        value = bytearray(messages[random.integers(len(messages))])
        place = int(random.integers(len(value)))
        byte = int(random.choice(telling)) if random.random() < 0.8 else int(random.integers(256))
        change = random.integers(3)
        value[place : place + (change != 2)] = b"" if change == 1 else bytes([byte])
        yield bytes(value)


@pytest.mark.parametrize("share", [0, 0.01, 0.2, 1])
def test_with_any_share_of_bad_messages_both_ways_agree(share):
    random = np.random.default_rng(7)
    values = [BAD[random.integers(len(BAD))] if random.random() < share else value for value in GOOD]
    assert_both_ways_agree(values)
    if share == 0:
        assert read_at_once(values) == len(values)


def test_a_message_with_one_byte_changed_is_judged_the_same_both_ways():
    random = np.random.default_rng(11)
    for _ in range(6):
        values = [*GOOD[:200], *mutated(random, GOOD, 400)]
        assert_both_ways_agree([values[i] for i in random.permutation(len(values))])


TIMES = """
    07:59:59Z 07:59:59.1Z 07:59:59.123456Z 07:59:59.1234567Z 07:59:59.9999999Z 08:59:59+01:00 07:59:59-13:30
    07:59:59.000001-00:30 07:59:59-00:00 07:59:59+15:00 07:59:59+23:59 07:59:59+24:00 07:59:59+0100 07:59:59z 07:59:60Z
    07:59:59+05:60 07:59:59-05:99 07:59:59x05:00 07:59:59:05:00
    24:00:00Z 23:59:59Z 07:60:00Z 07:59:59.Z 07:59:5.9Z 07:59:59 07:59:5:Z 07:59Z
"""
DAYS = """
    2027-02-29 2024-02-29 2100-02-29 2027-04-31 2027-00-10 2027-13-10 2027-01-00 1969-12-31 1970-01-01 0000-01-01
    2199-12-31 2200-01-01 9999-12-31 2027-1-15 2027/01/15
"""
VALUES = {
    "occurred_at": [f"2027-01-15T{t}" for t in TIMES.split()]
    + [f"{d}T07:59:59Z" for d in DAYS.split()]
    + ["2027-01-15"],
    "incident_id": [
        "7",
        *("x" * n for n in (128, 129)),
        "",
        "a b",
        "\x7f",
        "é",
        'a"b',
        "a\\b",
        "a\tb",
        "~!/{}[],:",
        "null",
    ],
    "region": ["bench-1", "bench-2", "bench-9", "bench-1 ", "bench", "BENCH-1", "bench-1" + "x" * 20],
    "category": ["ems", "fire", "traffic", "other", "fir", "fires", "Fire", "ems\0", "accident", "accidents"],
    "origin": ["public_call", "sensor", "responder", "officer_initiated", "unknown", "public_cal", "nobody"],
    "status": ["open", "closed", "cancelled", "Open", "cancelledx"],
    "type_code": ["a", "x" * 64, "x" * 65, "", "a\\", "ü"],
}
NUMBERS = {
    "lat": """41.8 41.80000000000001 41.812345678901234 41.8123456789012345678 418e-1 4.18E1 041.8 41. .5 41 -41.8
        +41.8 90 90.00000000000001 -90 -0 -0.0 00 0.0 - 1.2.3 41.8. 12345678 123456789 4-1 1_0 Infinity
        41.8x23456789012345678 true "4" null""",
    "lon": "-87.7 -87.65432101234567 -180 -180.0000001 180 8.77e1 -087.7 --87.7 -87,7 -87.7-",
    "revision": "0 1 12345678 123456789 2147483647 2147483648 -1 -0 1.0 1.5 01 1e0 99999999999999999999",
    "priority": "0 9 10 -1 5.0 05 null",
    "accuracy_m": "0 12.5 1000000 1000000.1 2000000 -1 1e3 null",
}


@pytest.mark.parametrize("field", [*VALUES, *NUMBERS])
def test_values_at_the_edge_of_what_is_plain_are_judged_the_same_both_ways(field):
    written = [json.dumps(text, ensure_ascii=escaped) for text in VALUES.get(field, []) for escaped in (True, False)]
    written += NUMBERS.get(field, "").split()
    values = []
    for i, text in enumerate(written):
        record = msgspec.json.decode(GOOD[i])
        record[field] = "HERE"
        values += [GOOD[i], json.dumps(record, separators=(",", ":")).replace('"HERE"', text).encode()]
    assert_both_ways_agree(values)
    assert read_at_once(values) > len(written)  # and some of the others


def test_producers_that_write_the_same_event_in_other_ways_are_each_read_at_once():
    values = []
    for i, value in enumerate(GOOD):
        record = msgspec.json.decode(value)
        if i % 4 == 1:
            record = dict(sorted(record.items())) | {"accuracy_m": 12.5}
        if i % 4 == 2:
            record = {name: record[name] for name in reversed(record)} | {"received_at": None, "type_code": None}
        if i % 4 == 3:
            del record["received_at"], record["revision"]
        values.append(json.dumps(record, indent=1 if i % 4 == 3 else None).encode() + b"\n" * (i % 4 == 1))
    assert_both_ways_agree(values)
    assert read_at_once(values) == len(values)


@pytest.mark.parametrize("word", [b"bench-1", b"traffic", b"open", b"public_call"])
def test_a_word_with_a_null_byte_behind_it_is_not_that_word(word):
    values = [value.replace(b'"%s"' % word, b'"%s\0"' % word) for value in GOOD[:60]]
    assert_both_ways_agree(GOOD[100:200] + values)


def test_of_a_key_that_stands_twice_nothing_is_read_at_once():
    twice = [value.replace(b'"revision":0', b'"lat":41.7') for value in GOOD[:50]]
    assert read_at_once(twice) == 0
    assert_both_ways_agree(GOOD[:50] + twice)


def test_numbers_of_any_length_are_what_a_parser_makes_of_them():
    random = np.random.default_rng(5)
    texts = [
        f"{lat:.{i % 17}f}" if i % 17 else repr(lat) for i, lat in enumerate(random.uniform(-90, 90, 2_000).tolist())
    ]
    values = [msgspec.json.encode(msgspec.json.decode(GOOD[0]) | {"lat": msgspec.Raw(text.encode())}) for text in texts]
    assert readings_of(values)[0].lat_deg.tolist() == [float(text) for text in texts]


@pytest.mark.parametrize("begin", [0, 900, 1900])
def test_bad_messages_that_came_together_leave_the_good_ones_to_be_read_at_once(begin):
    bad = [value.replace(b'"open"', b'"shut"') for value in GOOD[begin : begin + 100]]
    values = [*GOOD[:begin], *bad, *GOOD[begin + 100 :]]
    assert_both_ways_agree(values)
    assert read_at_once(values) == len(values) - len(bad)


def test_tombstones_empty_and_too_large_messages_go_to_the_loop():
    large = [value[:-1] + b" " * (8 * 1024) + b"}" for value in GOOD[60:70]]
    values = [None, b"", GOOD[1], None, *GOOD[2:60], *large, b"", None]
    assert_both_ways_agree(values)
    assert read_at_once(values) == 59
    assert read_at_once(large) == 0


def test_what_stands_behind_an_object_is_seen():
    values = [msgspec.json.encode(dict(reversed(msgspec.json.decode(value).items()))) for value in GOOD[:90]]
    behind = dict(enumerate((b"x", b"}", b"\n", b" "), start=10))
    assert_both_ways_agree([value + behind.get(i, b"") for i, value in enumerate(values)])
    assert read_at_once(values) == len(values)

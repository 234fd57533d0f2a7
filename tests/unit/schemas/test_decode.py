"""The decoder's columns against a slow one that is written here with the standard library only."""

import json
from dataclasses import fields
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise, product
from unittest.mock import patch

import numpy as np
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.decode import decode_messages
from schemas.event import ORIGINS
from schemas.grid import Grid
from schemas.incidents import (
    CANCELLED,
    COUNTED_ORIGIN,
    NO_PLACE,
    Incidents,
    Rejection,
    are_places,
    pack_rejections,
    unpack_rejections,
)
from tests.harness.toy import toy_messages, toy_record, toy_spec

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 3, 14, 8, 40, tzinfo=UTC)
GRID = Grid(south_deg=41.6, west_deg=-87.9, cell_m=5000, rows=8, cols=6)
POLYGONS = [GRID.polygon(cell) for cell in range(GRID.cells)]


def spec(region, *categories, **other):
    return toy_spec(grid=GRID, region=region, categories=categories, **other)


SPECS = {
    "riverton": spec("riverton", "fire", "ems"),
    "lakeside": spec("lakeside", "ems", "crash", counted_origins=("unknown",), future_limit_s=0, late_limit_s=3600),
}
GOOD = toy_record(region="riverton", occurred_at=NOW.isoformat(), lat=41.7, lon=-87.8, origin="sensor")


def milliseconds(when):
    return (when - EPOCH) // timedelta(milliseconds=1)


def decode(*values, kafka_time=NOW, partition=0, kafka_offset=None, now_ms=None):
    values = [json.dumps(value).encode() if isinstance(value, dict) else value for value in values]
    messages = toy_messages(values, milliseconds(kafka_time), partition=partition, offset=kafka_offset)
    return decode_messages(messages, SPECS, now_ms=now_ms)


def rows(incidents):
    return [tuple(row) for row in zip(*(getattr(incidents, f.name).tolist() for f in fields(Incidents)), strict=True)]


def decode_slowly(record, kafka_time, position):
    """One event -> the reason of its refusal, or its row."""
    it = SPECS[record["region"]]
    occurred = datetime.fromisoformat(record["occurred_at"])
    received = datetime.fromisoformat(record["received_at"]) if record.get("received_at") else kafka_time
    if record["category"] not in it.categories:
        return "unknown_category"
    cell = None
    for candidate, ((west, south), _, (east, north), *_) in enumerate(POLYGONS):
        if south <= record["lat"] < north and west <= record["lon"] < east:
            cell = candidate
    if cell is None:
        return "outside_grid"
    ahead = timedelta(seconds=it.future_limit_s)
    if occurred > received + ahead or received > kafka_time + ahead:
        return "future"
    if occurred < received - timedelta(seconds=it.late_limit_s):
        return "late"
    counted = COUNTED_ORIGIN if record["origin"] in it.counted_origins else 0
    cancelled = CANCELLED if record.get("status") == "cancelled" else 0
    return (
        int.from_bytes(xxhash.xxh3_64_digest(record["incident_id"].encode()), "big"),
        record.get("revision", 0),
        (occurred - EPOCH) // timedelta(seconds=1),
        milliseconds(received),
        cell,
        it.categories.index(record["category"]),
        counted | cancelled,
        [round(record[name] * 10_000_000) for name in ("lat", "lon")],
        position % 3,
        1000 + position,
        milliseconds(kafka_time),
    )


zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
ago_us = st.one_of(
    st.integers(-400_000_000, 90_000_000_000),
    st.sampled_from([300_000_000, 86_400_000_000, 3_600_000_000, 0, -300_000_000]).flatmap(
        lambda limit: st.integers(limit - 1, limit + 1)
    ),
)
times = st.builds(lambda us, zone: (NOW - timedelta(microseconds=us)).astimezone(zone).isoformat(), ago_us, zones)
records = st.fixed_dictionaries(
    {
        "incident_id": st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=20),
        "region": st.sampled_from(sorted(SPECS)),
        "occurred_at": times,
        "category": st.sampled_from(["fire", "ems", "crash"]),
        "lat": st.floats(41.59, 41.97) | st.sampled_from(GRID.corners()[0].tolist()),
        "lon": st.floats(-87.91, -87.53) | st.sampled_from(GRID.corners()[1].tolist()),
        "origin": st.sampled_from(ORIGINS),
    },
    optional={
        "revision": st.integers(0, 2**31 - 1),
        "status": st.sampled_from(["open", "closed", "cancelled"]),
        "received_at": times | st.none(),
        "type_code": st.text(max_size=10) | st.none(),
        "priority": st.integers(0, 9) | st.none(),
        "accuracy_m": st.floats(0, 1e6) | st.none(),
    },
)


@settings(max_examples=40, deadline=None)
@given(st.lists(records, max_size=5))
def test_columns_and_refusals_equal_those_of_a_slow_decoder(batch):
    positions = range(len(batch))
    kafka_time = NOW + timedelta(milliseconds=789)
    places = {"partition": [at % 3 for at in positions], "kafka_offset": [1000 + at for at in positions]}
    decoded = decode(*batch, kafka_time=kafka_time, **places)
    for region in SPECS:
        expected = [decode_slowly(it, kafka_time, at) for at, it in enumerate(batch) if it["region"] == region]
        got = rows(decoded.incidents.get(region, Incidents.empty()))
        assert got == [row for row in expected if isinstance(row, tuple)]
        refusals = sorted(decoded.rejections.get(region, []), key=lambda refusal: refusal.kafka_offset)
        assert [refusal.reason for refusal in refusals] == [reason for reason in expected if isinstance(reason, str)]


def at(**later):
    return (NOW + timedelta(**later)).isoformat()


OPTIONAL = {
    "revision": [7],
    "status": ["open"],
    "received_at": [None, at()],
    "type_code": [None, "T1"],
    "priority": [None, 3],
    "accuracy_m": [None, 5.0],
}


def test_a_message_is_read_once_unless_an_escape_may_hide_a_doubled_key_which_is_always_noticed():
    """To read it again takes longer than all else."""
    chosen = product(*([{}, *({name: value} for value in values)] for name, values in OPTIONAL.items()))
    events = [{name: value for part in (GOOD, *parts) for name, value in part.items()} for parts in chosen]
    with patch("schemas.decode.fault_in_keys", side_effect=AssertionError):
        assert len(decode(*events).incidents["riverton"]) == len(events) == 324
    doubled = [json.dumps(event)[:-1].encode() + b', "lat": 41.7}' for event in events]
    details = {refusal.detail for refusal in decode(*doubled).rejections["riverton"]}
    assert (len(decode(*doubled).rejections["riverton"]), details) == (324, {"key 'lat' appears more than once"})


def reason_of(decoded):
    """Why the one message is refused; None where it is accepted."""
    refused = [refusal.reason for refusal in decoded.rejections.get("riverton", [])]
    assert len(refused) + len(decoded.incidents["riverton"]) == 1
    return refused[0] if refused else None


@pytest.mark.fault("F17", "F18")
@pytest.mark.parametrize(
    ("occurred_at", "received_at", "reason"),
    [
        (at(seconds=300), None, None),
        (at(seconds=300, microseconds=1), None, "future"),
        (at(hours=-1, seconds=300), at(hours=-1), None),
        (at(hours=-1, seconds=300, microseconds=1), at(hours=-1), "future"),
        (at(), at(seconds=300), None),
        (at(), at(seconds=300, microseconds=1), "future"),
        (at(hours=-24), None, None),
        (at(hours=-24, microseconds=-1), None, "late"),
        (at(hours=-48), at(hours=-24), None),
        (at(hours=-48, microseconds=-1), at(hours=-24), "late"),
        (at(hours=-24, microseconds=123_457), at(microseconds=123_457), None),
        (at(hours=-24, microseconds=123_456), at(microseconds=123_457), "late"),
    ],
)
def test_the_limits_themselves_are_inside(occurred_at, received_at, reason):
    """Accepted: received - 24 h <= occurred <= received + 5 min, received <= Kafka's timestamp + 5 min."""
    assert reason_of(decode({**GOOD, "occurred_at": occurred_at, "received_at": received_at})) == reason


@pytest.mark.fault("F18")
@pytest.mark.parametrize(
    ("ahead", "now", "reason"),
    [
        ({"milliseconds": 300_001}, NOW, "future"),
        ({"milliseconds": 300_000}, NOW, None),
        ({"days": 26_000}, NOW, "future"),
        ({"milliseconds": 300_001}, None, None),
    ],
)
def test_a_kafka_timestamp_ahead_of_the_real_time_is_future(ahead, now, reason):
    """No producer's clock can move a region's clock ahead."""
    now_ms, event = now and milliseconds(now), {**GOOD, "occurred_at": at(**ahead)}
    assert reason_of(decode(event, kafka_time=NOW + timedelta(**ahead), now_ms=now_ms)) == reason


@pytest.mark.fault("F19")
@pytest.mark.parametrize("kafka_time_ms", [-(2**63), -1, 0, 2**63 - 1])
def test_a_kafka_timestamp_that_is_no_time_refuses_the_event_and_nothing_else_happens(kafka_time_ms):
    messages = toy_messages([json.dumps(GOOD).encode()], kafka_time_ms)
    [refusal] = decode_messages(messages, SPECS).rejections["riverton"]
    assert refusal.reason in ("future", "late")
    assert refusal.kafka_time_ms == kafka_time_ms


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 50)), unique=True, max_size=20),
    st.lists(st.integers(0, 20), max_size=4),
)
def test_parts_come_together_in_the_order_of_partition_and_offset(places, cuts):
    count = len(places)
    whole = Incidents(
        **{
            field.name: np.arange(count).astype(getattr(Incidents.empty(), field.name).dtype)
            for field in fields(Incidents)
            if field.name not in ("partition", "kafka_offset", "place")
        },
        place=np.arange(2 * count, dtype=np.int32).reshape(count, 2),
        partition=np.array([partition for partition, _ in places], np.int32),
        kafka_offset=np.array([offset for _, offset in places], np.int64),
    )
    bounds = [0, *sorted(min(cut, count) for cut in cuts), count]
    parts = [whole.select(np.arange(start, end)) for start, end in pairwise(bounds)]
    joined = Incidents.concatenate(parts)
    assert list(zip(joined.partition.tolist(), joined.kafka_offset.tolist(), strict=True)) == sorted(places)
    assert sorted(rows(joined)) == sorted(rows(whole))
    again = Incidents.unpack(joined.pack())
    assert rows(again) == rows(joined)
    for field in fields(Incidents):  # packed columns keep their types
        after, empty = getattr(again, field.name), getattr(Incidents.empty(), field.name)
        assert after.dtype == getattr(joined, field.name).dtype == empty.dtype
        assert after.flags.c_contiguous


def test_a_place_is_on_the_globe_or_not_known():
    places = [(90, 180), (-90, -180), (90 + 1e-7, 0), (0, -180 - 1e-7)]
    fixed = np.array([*(np.rint(np.multiply(place, 1e7)) for place in places), (NO_PLACE, NO_PLACE), (NO_PLACE, 0)])
    assert are_places(fixed.astype(np.int32)).tolist() == [True, True, False, False, True, False]
    assert are_places(np.empty((2, 0), np.int32)).tolist() == [True, True]


def test_rejections_survive_packing():
    refused = [
        Rejection("schema", "why", 2, 2**40, milliseconds(NOW), b"\xff\x00{"),
        Rejection("person_field", "", 0, 0, -1, None),
    ]
    assert list(unpack_rejections(pack_rejections(refused))) == refused
    assert pack_rejections([]) == b""
    assert list(unpack_rejections(b"")) == []

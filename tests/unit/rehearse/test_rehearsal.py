"""A rehearsal: the sample, the replay of a file, bad messages, producer and broker."""

import json
import re
import subprocess
import threading
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kafka.errors import KafkaTimeoutError

from models.artifact import champion_of
from models.files.incident_files import read_incidents
from models.files.layouts import LAYOUTS
from models.local_time import utc_from_local
from schemas.decode import decode_messages
from schemas.errors import BrokerError, DataError
from schemas.event import REASONS, Event
from streaming.cli.maps import read_streets
from streaming.rehearse.broker import Broker
from streaming.rehearse.demo import Rehearsal
from streaming.rehearse.incident_replay import (
    ARTIFACTS,
    BAD,
    CORRECTION,
    DEMO_DAY,
    DUPLICATE,
    GROUND,
    INCIDENT,
    REGION,
    SAMPLE,
    WEEK_S,
    Message,
    Mix,
    at_speed,
    messages,
    paced,
    parse_when,
    plan_replay,
    poison_messages,
    send_messages,
    shifted,
    template_event,
    weeks_until,
)
from streaming.settings import Settings
from tests.harness.toy import toy_grid, toy_messages, toy_spec, toy_table

NOTICE = SAMPLE.parent / "NOTICE.md"


def test_the_sample_is_the_day_of_the_storm_with_places_of_100_metres_and_nothing_else():
    table = read_incidents(SAMPLE, LAYOUTS["sample"])
    when = [datetime.fromtimestamp(second, ZoneInfo(table.timezone)) for second in table.occurred_s.tolist()]
    assert {at.date() for at in when} == {date.fromisoformat(DEMO_DAY)}
    assert sum(18 <= at.hour < 20 for at in when) == 138  # of two hours in which 41 are usual
    assert (len(table), table.categories) == (580, ("ems", "fire", "traffic"))
    assert not table.skipped
    header, *rows = SAMPLE.read_text(encoding="utf-8").splitlines()
    assert header == "occurred_at,category,lat,lon"
    assert all(re.fullmatch(r"2016-07-25T[\d:]{8},\w+,(39|40)\.\d{3},-7\d\.\d{3}", row) for row in rows)


def test_the_sample_carries_its_sources_notice_also_on_the_model_card():
    notice = NOTICE.read_text(encoding="utf-8")
    for word in ("montcoalert", "Open Database", "derived database", "Apache-2.0"):
        assert word in notice
    card = champion_of(ARTIFACTS, REGION).card
    assert "ODbL 1.0" in card
    assert "derived database" in card
    assert "ODbL 1.0" in read_streets(GROUND, [champion_of(ARTIFACTS, REGION).spec.grid])["attribution"]


ZONE = "America/Chicago"
START_S = parse_when("2017-10-21", ZONE)
MIX = Mix(duplicates=0.2, corrections=0.3, bad=0.5, seed=7)


def table_of(n=200, every_s=300):
    number = np.arange(n)
    return toy_table(
        START_S + number * every_s,
        timezone=ZONE,
        lat_deg=np.round(41.7 + number * 1e-4, 4),
        lon_deg=np.full(n, -87.6),
        category=(number % 3).astype(np.int16),
        categories=("ems", "fire", "traffic"),
    )


def sent(**arguments):
    return list(messages(plan_replay(table_of(), region="town", **arguments)))


def events(planned, kind):
    return [msgspec.json.decode(message.value, type=Event) for message in planned if message.kind == kind]


class FakeClock:
    def __init__(self):
        self.now_s = 0.0
        self.slept = []

    def now(self):
        return self.now_s

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now_s += seconds


def test_a_plan_is_the_same_for_one_seed_and_its_mix_is_a_share_of_the_incidents():
    planned = sent(mix=MIX)
    assert planned == sent(mix=MIX) != sent(mix=replace(MIX, seed=8))
    shares = {INCIDENT: 200, DUPLICATE: 40, CORRECTION: 60, BAD: 100}
    assert Counter(message.kind for message in planned) == shares
    assert len(plan_replay(table_of(), region="town", mix=MIX)) == 400


def test_messages_go_out_in_time_order_stamped_with_the_time_of_reception():
    planned = sent(mix=MIX)
    stamps = [message.send_ms for message in planned]
    assert stamps == sorted(stamps)
    for message, event in zip((one for one in planned if one.kind == INCIDENT), events(planned, INCIDENT), strict=True):
        assert event.received_at.timestamp() == pytest.approx(message.send_ms / 1000)
        assert 2 <= (event.received_at - event.occurred_at).total_seconds() <= 240


def test_an_incident_becomes_an_event_with_its_own_id_as_key():
    planned = [message for message in sent(mix=Mix()) if message.value and b"town-0000002" in message.value]
    assert [message.key for message in planned] == [b"town-0000002"]
    fields = json.loads(planned[0].value)
    assert fields.pop("received_at").startswith("2017-10-21T05:05:")
    where = {"region": "town", "occurred_at": "2017-10-21T05:05:00Z", "lat": 41.7001, "lon": -87.6}
    assert fields == {"incident_id": "town-0000002", "category": "fire", "origin": "public_call", **where}


def test_a_duplicate_is_the_same_bytes_later():
    planned = sent(mix=MIX)
    first = {message.key: message for message in planned if message.kind == INCIDENT}
    repeats = [message for message in planned if message.kind == DUPLICATE]
    assert all(message.value == first[message.key].value for message in repeats)
    assert all(message.send_ms > first[message.key].send_ms for message in repeats)


def test_a_correction_is_a_later_revision_that_moves_reclassifies_or_cancels():
    planned = sent(mix=Mix(corrections=1.0))
    first = {event.incident_id: event for event in events(planned, INCIDENT)}
    changes = Counter()
    for event in events(planned, CORRECTION):
        before = first[event.incident_id]
        assert (event.revision, event.occurred_at) == (1, before.occurred_at)
        assert event.received_at > before.received_at
        changes[event.lat != before.lat, event.category != before.category, event.status == "cancelled"] += 1
    assert set(changes) == {(True, False, False), (False, True, False), (False, False, True)}
    assert min(changes.values()) > 30


def test_bad_messages_are_of_many_kinds_and_have_keys_of_their_own():
    planned = [message for message in sent(mix=Mix(bad=0.5)) if message.kind == BAD]
    assert len({message.key for message in planned}) == 100
    assert len({message.value for message in planned}) > 80


def test_only_the_asked_span_is_replayed_and_a_time_that_is_none_is_refused():
    from_s, to_s = parse_when("2017-10-21T01:00", ZONE), parse_when("2017-10-21T02:00-05:00", "UTC")
    plan = plan_replay(table_of(), region="town", mix=Mix(), from_s=from_s, to_s=to_s)
    assert plan.occurred_s.tolist() == list(range(START_S + 3600, START_S + 7200, 300))
    with pytest.raises(DataError, match="2017-10-21 00:00 to 2017-10-21 16:35"):
        plan_replay(table_of(), region="town", mix=Mix(), from_s=to_s + WEEK_S)
    with pytest.raises(DataError, match="'noon'"):
        parse_when("noon", ZONE)


@settings(max_examples=60)
@given(utc_s=st.integers(1_262_304_000, 1_893_456_000), weeks=st.integers(-600, 600))
def test_a_shift_by_weeks_keeps_weekday_and_hour_on_the_local_clock(utc_s, weeks):
    moved = int(shifted(np.array([utc_s]), ZONE, days=7 * weeks)[0])
    before, after = (datetime.fromtimestamp(second, ZoneInfo(ZONE)) for second in (utc_s, moved))
    wall_s = int(before.replace(tzinfo=UTC).timestamp()) + weeks * WEEK_S
    _, reading = utc_from_local(np.array([wall_s]), ZONE)
    if reading[0] != -1:  # an hour that clocks skip cannot be kept
        assert (after.weekday(), after.time()) == (before.weekday(), before.time())
    assert round((moved - utc_s) / WEEK_S, 1) == weeks


@settings(max_examples=60)
@given(last_s=st.integers(1_262_304_000, 1_893_456_000), now_s=st.integers(1_262_304_000, 1_893_456_000))
def test_a_shift_to_now_ends_within_the_last_week(last_s, now_s):
    weeks = weeks_until(last_s, now_s=now_s, timezone=ZONE)
    moved = int(shifted(np.array([last_s]), ZONE, days=7 * weeks)[0])
    assert now_s - WEEK_S - 3600 <= moved <= now_s + 3600  # an hour's slack where clocks change between the two


def test_messages_are_paced_by_their_own_times_not_by_how_long_sending_took_and_never_wait_when_due_at_once():
    clock = FakeClock()
    planned = [Message(key=b"k", value=b"v", send_ms=at_ms, kind=INCIDENT) for at_ms in (0, 60_000, 60_000, 180_000)]
    left_at = []
    for _ in paced(planned, lambda send_ms: send_ms / 60_000, clock=clock.now, sleep=clock.sleep):
        left_at.append(clock.now_s)
        clock.now_s += 0.25  # sending is slow; the next one is not put off for it
    assert left_at == [0, 1, 1.25, 3]
    assert clock.slept == [0.75, 1.5]
    assert list(paced(planned, None, clock=lambda: pytest.fail("asked the time"), sleep=pytest.fail)) == planned


def test_a_speed_is_how_many_times_real_time_and_zero_as_fast_as_possible():
    plan = plan_replay(table_of(), region="town", mix=Mix())
    due_s = at_speed(plan, 60)
    assert due_s(int(plan.send_ms[0])) == 0
    assert due_s(int(plan.send_ms[0]) + 60_000) == 1
    assert at_speed(plan, 0) is None


AS_OF_S = 1_767_225_600
SPEC = toy_spec(
    grid=toy_grid(40, 30, south_deg=41.6, west_deg=-87.9),
    region="town",
    timezone="America/Chicago",
    categories=("theft", "fire"),
)
TEMPLATE = template_event(SPEC, as_of_s=AS_OF_S)
POISONS = poison_messages(TEMPLATE)


@pytest.mark.parametrize(
    ("south_deg", "west_deg"),
    [(41.6, -87.9), (37.6, -122.6), (29.6, -95.6), (35.5, 139.5), (-34.0, 151.0), (51.4, -0.3)],
)
def test_every_kind_is_refused_with_its_reason_wherever_the_region_lies_and_its_neighbours_are_not(south_deg, west_deg):
    spec = msgspec.structs.replace(SPEC, grid=toy_grid(40, 30, south_deg=south_deg, west_deg=west_deg))
    template = template_event(spec, as_of_s=AS_OF_S)
    poisons, good = poison_messages(template), msgspec.json.encode(template)
    values = [value for poison in poisons for value in (good, poison.value)]
    decoded = decode_messages(toy_messages(values, AS_OF_S * 1000), {"town": spec})
    refused = {refusal.kafka_offset: refusal.reason for part in decoded.rejections.values() for refusal in part}
    assert refused == {2 * number + 1: poison.reason for number, poison in enumerate(poisons)}
    assert decoded.incidents["town"].kafka_offset.tolist() == list(range(0, len(values), 2))


def test_the_list_is_long_names_each_kind_once_and_covers_every_reason():
    assert len(POISONS) >= 45
    assert len({poison.name for poison in POISONS}) == len(POISONS)
    assert {poison.reason for poison in POISONS} == set(REASONS)


PLANNED = [
    Message(key=b"a", value=b"1", send_ms=1_000, kind=INCIDENT),
    Message(key=b"bad", value=None, send_ms=2_000, kind=BAD),
    Message(key=b"a", value=b"1", send_ms=3_000, kind=DUPLICATE),
]


class FakeFuture:
    def __init__(self, error):
        self.error = error

    def add_errback(self, report):
        if self.error is not None:
            report(self.error)


class FakeProducer:
    def __init__(self, errors=()):
        self.sent = []
        self.flushed = False
        self.errors = iter(errors)

    def send(self, topic, *, key, value, timestamp_ms):
        self.sent.append((topic, key, value, timestamp_ms))
        return FakeFuture(next(self.errors, None))

    def flush(self, timeout):
        self.flushed = True


def test_everything_is_sent_with_its_time_and_counted_by_kind_and_one_that_kafka_refuses_ends_the_replay():
    producer, seen = FakeProducer(), []
    counts = send_messages(PLANNED, producer, topic="incidents.v1", on_sent=seen.append)
    assert producer.sent == [("incidents.v1", message.key, message.value, message.send_ms) for message in PLANNED]
    assert seen == PLANNED
    assert counts == {"incidents": 1, "duplicates": 1, "corrections": 0, "bad": 1}
    assert producer.flushed
    producer = FakeProducer(errors=[None, KafkaTimeoutError("no leader")])
    with pytest.raises(BrokerError, match=r"incidents\.v1.*no leader.*check"):
        send_messages(PLANNED, producer, topic="incidents.v1", on_sent=lambda _: None)
    assert len(producer.sent) == 2


LAST = "ERROR Shutdown broker because all log dirs in data have failed"


@pytest.fixture
def broker(tmp_path):
    (tmp_path / "broker.log").write_text(f"WARN the disk is nearly full\n{LAST}\n")
    process = subprocess.Popen(["/bin/cat"], stdin=subprocess.PIPE)
    yield Broker(folder=tmp_path, port=9092, process=process)
    process.communicate()


def test_the_fault_names_the_log_and_its_last_line(broker):
    assert broker.fault() is None, "it runs"
    broker.stop()
    ended = broker.fault()
    assert str(broker.folder / "broker.log") in ended.remedy
    assert ended.remedy.endswith(LAST)
    (broker.folder / "broker.log").write_text("")
    assert "which is empty" in broker.fault().remedy


def test_a_rehearsal_ends_at_once_and_says_why(broker):
    """Not after four minutes, and not that the machine was busy."""
    broker.stop()
    rehearsal = Rehearsal(plan=None, artifacts=None, out=broker.folder, due_s=None, longest_s=20)
    finished = threading.Event()
    rehearsal._produce(Settings(), broker, threading.Event(), finished)
    assert finished.is_set()
    assert isinstance(rehearsal._failure, BrokerError)
    assert LAST in str(rehearsal._failure)

"""Marks of shifts: which are taken, what is stored of them, nothing about a person, and Kafka's promises."""

import json
from collections import namedtuple
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.decode import MARKS, Feedback, decode_feedback
from schemas.errors import ArtifactError, SinkUnavailable
from schemas.event import REASONS
from schemas.limits import MAX_EVENT_BYTES
from schemas.records import pointer_path
from streaming import marks as module
from streaming.kafka import KafkaConnection
from streaming.marks import FeedbackStore, fault_of, mark_line, specs_of
from tests.harness.batch import MemorySink
from tests.harness.points import stored_points
from tests.harness.toy import toy_artifact, toy_spec

SPEC = toy_spec(3, 4, categories=("ems", "fire"))
NOW_S = 1_800_000_000
GOOD = {"region": "toyville", "cell": "r001c002", "at": "2027-01-15T07:00:00Z", "mark": "useful", "desk": "north"}
Record = namedtuple("Record", "value partition offset timestamp")


class Letters:
    def __init__(self):
        self.kept = []

    def write(self, refused):
        self.kept += [(region, rejection) for region, rejections in refused.items() for rejection in rejections]


def encoded(**changes):
    return json.dumps({**GOOD, **changes}).encode()


def records(*values):
    return [Record(value, 0, offset, NOW_S * 1000) for offset, value in enumerate(values)]


@pytest.fixture
def store():
    return FeedbackStore(
        sink=MemorySink(), dead_letters=Letters(), specs=lambda: {"toyville": SPEC}, now_s=lambda: NOW_S
    )


def test_a_mark_becomes_one_point_and_a_repeat_the_same(store):
    assert store.keep(records(encoded(), encoded(mark="acted_on", category="fire", horizon="1h"))) == (2, 0)
    assert store.keep(records(encoded())) == (1, 0)
    points = stored_points(store.sink.writes)
    assert {tick for _, tick in points} == {1_799_996_400}
    assert sorted(key for key, _ in points) == [
        "feedback,category=all,cell=r001c002,desk=north,horizon=4h,mark=useful,region=toyville",
        "feedback,category=fire,cell=r001c002,desk=north,horizon=1h,mark=acted_on,region=toyville",
    ]
    assert all(fields == {"marks": "1.0"} for fields in points.values())


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "null_value"),
        (b"{", "not_json"),
        (b"[]", "schema"),
        (encoded(mark="great"), "schema"),
        (encoded(cell="12"), "schema"),
        (encoded(desk="Sgt. Miller"), "schema"),
        (encoded(desk="north\n"), "schema"),
        (encoded(at="0001-01-01T00:00:00Z"), "bad_time"),
        (encoded(cell="r001c002\n"), "outside_grid"),
        (encoded(cell=f"r{'1' * 5000}c001"), "schema"),
        (encoded(horizon="3h"), "schema"),
        (encoded(at="yesterday"), "bad_time"),
        (encoded(at="2027-01-15T07:00:00"), "bad_time"),
        (encoded(at="2027-01-15T09:00:00Z"), "future"),
        (encoded(region="elsewhere"), "unknown_region"),
        (encoded(category="flood"), "unknown_category"),
        (encoded(cell="r009c000"), "outside_grid"),
        (encoded(cell="r0001c002"), "outside_grid"),
        (encoded(cell="r\u0967\u0967\u0967c002"), "schema"),
        (encoded(score=5), "unknown_field"),
        (encoded(officer_name="x"), "person_field"),
        (encoded(note="he was there"), "person_field"),
        (encoded()[:-1] + b',"mark":"useful"}', "schema"),
        (b'{"region":"' + b"x" * MAX_EVENT_BYTES + b'"}', "too_large"),
    ],
)
def test_what_is_refused_is_kept_with_its_reason_and_stops_nothing(store, value, reason):
    assert store.keep(records(value, encoded(), value)) == (1, 2)
    (_, letter), _ = store.dead_letters.kept
    assert letter.reason == reason
    assert letter.kafka_offset == 0
    is_a_mark = isinstance(decode_feedback(value), Feedback)
    assert letter.payload == (value if is_a_mark else None)  # anything else may be about a person
    assert len(stored_points(store.sink.writes)) == 1


@given(
    st.none()
    | st.binary(max_size=300)
    | st.dictionaries(
        st.sampled_from([*GOOD, "category", "horizon", "x"]),
        st.none() | st.integers() | st.text(max_size=20) | st.sampled_from([*GOOD.values()]),
    ).map(lambda d: json.dumps(d).encode())
)
def test_no_message_raises_and_a_refusal_names_no_value(value):
    found = decode_feedback(value)
    if isinstance(found, Feedback):
        assert found.mark in MARKS
        assert fault_of(found, {}, NOW_S) == ("unknown_region", "no artifact scores this region")
        assert mark_line(found).startswith(b"feedback,")
    else:
        assert found[0] in REASONS


def test_dead_letters_are_written_before_marks_and_marks_before_the_position_moves(store):
    """A store that is away leaves the position where it was: the same records come again."""

    store.sink.is_there = False
    with pytest.raises(SinkUnavailable):
        store.keep(records(b"{", encoded()))
    assert len(store.dead_letters.kept) == 1


def test_a_damaged_pointer_stops_the_store_before_it_takes_or_refuses_anything(tmp_path):
    """A good mark of that region would be refused as one of an unknown region, and be gone."""
    toy_artifact(tmp_path, SPEC)
    assert specs_of(tmp_path) == {"toyville": SPEC}
    pointer_path(tmp_path, "toyville").write_bytes(b"{")
    letters, sink = Letters(), MemorySink()
    store = FeedbackStore(sink=sink, dead_letters=letters, specs=lambda: specs_of(tmp_path), now_s=lambda: NOW_S)
    with pytest.raises(ArtifactError, match=r"pointer\.json cannot be used") as caught:
        store.keep(records(encoded()))
    assert "risk promote REGION" in caught.value.remedy
    assert (letters.kept, sink.writes) == ([], [])
    pointer_path(tmp_path, "toyville").unlink()
    assert store.keep(records(encoded())) == (1, 0)


KAFKA = KafkaConnection("nowhere:9092")


class Producer:
    """It stores a message only for one who waits for every replica: the others' leader fails before it is copied."""

    stored = ()

    def __init__(self, *, acks=1, **_):
        self.acks = acks

    def send(self, _topic, *, key, value):
        if self.acks in ("all", -1):
            Producer.stored = (*Producer.stored, (key, value))
        return self

    def get(self, timeout):
        return None

    def close(self, timeout):
        pass


def test_a_mark_is_sent_when_every_replica_has_it(monkeypatch):
    monkeypatch.setattr("streaming.kafka.KafkaProducer", Producer)
    monkeypatch.setattr(module, "topic_faults", lambda *_: {})
    mark = decode_feedback(encoded())
    module.send_mark(mark, KAFKA, "feedback.v1")
    ((key, value),) = Producer.stored
    assert (key.decode(), decode_feedback(value)) == (GOOD["cell"], mark)


class Consumer:
    """A group's consumer of a topic of three marks. `committed` is Kafka's, which survives the process."""

    committed = None

    def __init__(self, _topic, *, auto_offset_reset="latest", enable_auto_commit=True, **_):
        self.commits_alone = enable_auto_commit
        first = 0 if auto_offset_reset == "earliest" else 3
        self.next = first if Consumer.committed is None else Consumer.committed

    def poll(self, timeout_ms):
        records = [Record(encoded(), 0, offset, 0) for offset in range(self.next, 3)]
        self.next = 3
        if self.commits_alone:
            self.commit()
        return {"partition": records} if records else {}

    def commit(self):
        Consumer.committed = self.next

    def assignment(self):
        return ["partition"]

    def end_offsets(self, places):
        return dict.fromkeys(places, 3)

    def position(self, place):
        return self.next

    def close(self, autocommit):
        pass


class Kept:
    """The store's side; it fails as often as it is told to."""

    def __init__(self, failures):
        self.failures, self.records = failures, []

    def keep(self, records):
        if self.failures:
            self.failures -= 1
            raise ConnectionError
        self.records += records
        return len(records), 0


def test_marks_of_before_the_first_start_are_kept_and_a_failure_of_the_store_loses_none(monkeypatch):
    monkeypatch.setattr(module, "KafkaConsumer", Consumer)
    monkeypatch.setattr(module, "refuse_unreachable", lambda *_: None)
    monkeypatch.setattr(Consumer, "committed", None)
    kept = Kept(failures=1)
    with pytest.raises(ConnectionError):
        module.keep_feedback(KAFKA, "feedback.v1", kept, stop=Event(), follow=False)
    assert module.keep_feedback(KAFKA, "feedback.v1", kept, stop=Event(), follow=False) == (3, 0)
    assert [record.offset for record in kept.records] == [0, 1, 2]
    assert module.keep_feedback(KAFKA, "feedback.v1", kept, stop=Event(), follow=False) == (0, 0)

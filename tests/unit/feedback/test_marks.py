"""Marks of shifts: which are taken, what is stored of them, and that nothing about a person comes through."""

import json
from collections import namedtuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.decode import MARKS, Feedback, decode_feedback
from schemas.errors import ArtifactError
from schemas.event import REASONS
from schemas.limits import MAX_EVENT_BYTES
from schemas.records import pointer_path
from streaming.marks import FeedbackStore, fault_of, mark_line, specs_of
from tests.harness.memory_sink import MemorySink
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
    assert store.keep(records(value, encoded())) == (1, 1)
    ((_, letter),) = store.dead_letters.kept
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

    class Away(MemorySink):
        def write(self, lines):
            raise ConnectionError

    away = FeedbackStore(sink=Away(), dead_letters=Letters(), specs=store.specs, now_s=store.now_s)
    with pytest.raises(ConnectionError):
        away.keep(records(b"{", encoded()))
    assert len(away.dead_letters.kept) == 1


def test_a_damaged_pointer_stops_the_store_before_it_takes_or_refuses_anything(tmp_path):
    """A good mark of that region would be refused as one of an unknown region, and be gone."""
    toy_artifact(tmp_path, SPEC)
    assert specs_of(tmp_path) == {"toyville": SPEC}
    pointer_path(tmp_path, "toyville").write_bytes(b"{")
    letters, sink = Letters(), MemorySink()
    store = FeedbackStore(sink=sink, dead_letters=letters, specs=lambda: specs_of(tmp_path), now_s=lambda: NOW_S)
    with pytest.raises(ArtifactError, match=r"pointer\.json cannot be used") as caught:
        store.keep(records(encoded()))
    assert "lifecycle promote REGION" in caught.value.remedy
    assert (letters.kept, sink.writes) == ([], [])
    pointer_path(tmp_path, "toyville").unlink()
    assert store.keep(records(encoded())) == (1, 0)

"""A person acknowledges or overrides what the map shows: on record, seen by every process, and ended by itself."""

import time
from threading import Event, Thread

import pytest

from schemas.audit import read_log, record, verify
from schemas.frame import Unusual
from service.decisions import DecisionLog, decisions_in
from tests.harness.service import Clock, leave_frame, waited
from tests.unit.service.conftest import DECISIONS, SCORES, WITHHELD, made_token, problem, served, withhold

PLACE = {"category": "theft", "first": "r001c001", "last": "r002c003"}
SENT = {**PLACE, "what": "acknowledged", "reason": "unit sent", "hours": 2}
ENDLESS = {"region": "riverton", "until": "2999-01-01T00:00:00Z", "by": "desk"}
FIREWORKS = {**PLACE, "what": "overridden", "reason": "planned fireworks", "hours": 24}


@pytest.fixture
def folder(tmp_path):
    leave_frame(tmp_path)
    return tmp_path


def in_force(client):
    return client.json(DECISIONS)["decisions"]


def on_record(client, limit=100):
    return client.json(f"{DECISIONS}/record?limit={limit}")["decisions"]


def decide(client, **changes):
    """Sends SENT, changed so; gives what is then in force."""
    answer = client.post(DECISIONS, SENT | changes)
    assert answer.status == 200, answer.data
    return answer.json()["decisions"]


def said(decision):
    return decision["what"], decision["reason"], decision["by"]


def test_a_decision_is_on_record_and_in_force_in_every_process_until_it_ends(folder):
    token, clock = made_token(folder, role="dispatcher"), Clock()
    with served(folder, token, clock=clock) as desk, served(folder, token, clock=clock) as replica:
        before = desk.json(SCORES)
        (taken,) = decide(desk)
        assert said(taken) == ("acknowledged", "unit sent", "desk")
        assert {name: taken[name] for name in PLACE} == PLACE
        assert waited(lambda: in_force(replica) == [taken])
        assert desk.json(SCORES) == before
        clock.ahead_s = 2 * 3600 + 1
        assert (in_force(desk), in_force(replica)) == ([], [])
    verdict = verify(read_log(folder / "audit.jsonl"))
    (entry,) = verdict.records
    assert (verdict.faults, entry.event) == ([], "place_decided")
    assert {**entry.details, "at": taken["at"]} == taken


def test_a_decision_says_how_many_incidents_there_were_when_it_was_taken(folder):
    given = {"row": 1, "col": 1, "rows": 2, "cols": 3, "hours": 4, "usual": 1.4, "days": 40.0}
    places = [Unusual(category=category, observed=seen, **given) for category, seen in (("theft", 5), ("battery", 90))]
    frame, _ = leave_frame(folder, unusual=tuple(places))
    with served(folder) as client:
        decide(client)
        on_cell, on_place = decide(client, first="r004c002", last="r004c002")
    assert on_place["observed"] == 5, "of its own category, in the hours of the place"
    assert on_cell["observed"] == frame.observed_1h[4 * 5 + 2, 0]


def test_the_newest_decision_of_a_place_counts_also_after_a_restart_and_is_withdrawn(folder):
    with served(folder) as client:
        for decision in (SENT, FIREWORKS, {"category": "battery", "hours": 24}):
            decide(client, **decision)
    clock = Clock()
    clock.ahead_s = 23 * 3600
    with served(folder, clock=clock) as client:
        assert [said(each)[:2] for each in in_force(client)] == [
            ("acknowledged", "unit sent"), ("overridden", "planned fireworks")]  # fmt: skip
        left = decide(client, what="withdrawn", reason="rain", hours=1)
        assert [each["category"] for each in left] == ["battery"]
        reasons = [each["reason"] for each in on_record(client)]
        assert reasons == ["rain", "unit sent", "planned fireworks", "unit sent"]
        assert len(on_record(client, limit=1)) == 1


WRONG = [
    *(({"hours": hours}, 422) for hours in (24.1, 0)),
    *(
        ({"reason": reason}, 422)
        for reason in ("x" * 121, " ", "two\nlines", "two\u2028lines", "\u00a0\u200b", "sent \u202etnes ton")
    ),
    ({"officer": "A. Smith"}, 422),
    ({"what": "arrested"}, 422),
    ({"category": "arson"}, 404),
    ({"last": "r099c099"}, 404),
    ({"first": "r002c001", "last": "r001c003"}, 422),
    ({"first": "r001c003", "last": "r002c001"}, 422),
]


def test_what_cannot_be_decided_is_not_on_record(folder):
    with served(folder) as client:
        for wrong, status in WRONG:
            assert client.post(DECISIONS, SENT | wrong).status == status, wrong
    assert not (folder / "audit.jsonl").exists()


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        ({"age_s": 900}, "and so stale: decide when the map is LIVE"),
        ({"age_s": 900, "clock": "event"}, "and so a replay: decide when the map is LIVE"),
        ({"model": "20240101T000000Z-0a1b2c3d"}, "decide when a newer model scores"),
    ],
)
def test_of_a_wrong_picture_nothing_is_decided_but_a_decision_is_withdrawn(folder, frame, why):
    with served(folder) as client:
        decide(client)
    leave_frame(folder, **frame)
    with served(folder) as client:
        status, detail = problem(client.post(DECISIONS, FIREWORKS))
        assert (status, detail.endswith(why)) == (409, True)
        assert len(in_force(client)) == 1
        assert decide(client, what="withdrawn") == []


def test_while_scores_are_withheld_a_decision_is_withdrawn_and_an_inspector_reads_the_record(folder):
    with served(folder) as client:
        decide(client)
    withhold(folder)
    with served(folder) as client:
        assert problem(client.post(DECISIONS, FIREWORKS)) == (503, WITHHELD.in_words())
        assert [said(each)[0] for each in in_force(client)] == ["acknowledged"]
        assert decide(client, what="withdrawn", reason="no more") == []
        assert [each["reason"] for each in on_record(client)] == ["no more", "unit sent"]


def test_a_decision_is_in_its_own_answer_while_the_log_is_read_for_others(folder, monkeypatch):
    decisions, began = DecisionLog(folder / "audit.jsonl"), Event()
    record(decisions.audit, "place_decided", {**SENT, **ENDLESS}, at_s=time.time())

    def slowly(path):
        began.set()
        time.sleep(0.2)
        return read_log(path)

    monkeypatch.setattr("service.decisions.read_log", slowly)
    looking = Thread(target=decisions.in_force, args=("riverton", time.time()))
    looking.start()
    began.wait()
    assert [said(each)[1] for each in decisions.in_force("riverton", time.time())] == ["unit sent"]
    looking.join()


def test_a_page_of_another_site_decides_nothing(folder):
    token, named = made_token(folder, role="dispatcher"), "https://map.example.org"
    cookie, bearer = {"Cookie": f"risk_token={token}"}, {"Authorization": f"Bearer {token}"}
    with served(folder, origins=[named]) as client:
        for who, origin, status in (
            (cookie, "https://evil.example", 403),
            (bearer, "https://evil.example", 403),
            (bearer, "null", 403),
            (cookie, named, 403),
            (bearer, named, 200),
            (cookie, client.base, 200),
        ):
            answer = client.ask(DECISIONS, method="POST", json=SENT, headers={**who, "Origin": origin})
            assert answer.status == status, origin


def test_a_decision_of_another_region_is_not_on_record_here_and_one_of_an_older_version_says_no_number(folder):
    """An address of two methods names both where neither is asked."""
    details = {**PLACE, "what": "acknowledged", "reason": "unit sent", **ENDLESS}
    for region in ("elsewhere", "riverton"):
        record(folder / "audit.jsonl", "place_decided", {**details, "region": region}, at_s=Clock()())
    with served(folder) as client:
        assert [each["observed"] for each in in_force(client)] == [None]
        assert len(on_record(client)) == 1
        answer = client.ask(DECISIONS, method="DELETE")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, POST")


def test_nothing_is_decided_that_cannot_be_recorded(folder):
    (folder / "audit.jsonl").mkdir()
    with served(folder) as client:
        status, detail = problem(client.post(DECISIONS, SENT))
        assert (status, detail.startswith("nothing is decided:")) == (503, True)
        assert in_force(client) == []


def test_a_log_is_read_back_no_further_than_a_decision_can_last(folder):
    clock = Clock()
    with served(folder, clock=clock) as client:
        for hour, reason in enumerate(("first", "second", "third")):
            clock.ahead_s = 3600 * hour
            decide(client, what="withdrawn", reason=reason)
    content = read_log(folder / "audit.jsonl")
    third, second, _ = decisions_in(content)
    assert list(decisions_in(content, second["at"])) == [third, second]
    assert list(decisions_in(content + content[:40])) == list(decisions_in(content))

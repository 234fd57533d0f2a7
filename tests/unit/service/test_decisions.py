"""A person acknowledges or overrides what the map shows: on record, seen by every process, and ended by itself."""

import json
import time
from threading import Event, Thread

import msgspec
import pytest

from schemas.audit import read_log, record, verify
from schemas.frame import Unusual
from schemas.records import Withheld, withheld_path
from service.decisions import DecisionLog, decisions_in
from service.tokens import Tokens, make_token
from tests.harness.service import Client, Clock, leave_frame, running, toy_service, waited

PATH = "/v1/regions/riverton/decisions"
PLACE = {"category": "theft", "first": "r001c001", "last": "r002c003"}
SENT = {**PLACE, "what": "acknowledged", "reason": "unit sent", "hours": 2}
ENDLESS = {"region": "riverton", "until": "2999-01-01T00:00:00Z", "by": "desk"}
FIREWORKS = {**PLACE, "what": "overridden", "reason": "planned fireworks", "hours": 24}


@pytest.fixture
def folder(tmp_path):
    leave_frame(tmp_path)
    return tmp_path


@pytest.fixture
def tokens(folder):
    path = folder / "tokens.jsonl"
    make_token(path, "desk", [], role="dispatcher")
    return path


def in_force(client):
    return client.json(PATH)["decisions"]


def said(decision):
    return decision["what"], decision["reason"], decision["by"]


def test_a_decision_is_on_record_and_in_force_in_every_process_until_it_ends(folder, tokens):
    token, clock = make_token(tokens, "desk", [], role="dispatcher"), Clock()

    def served():
        return running(toy_service(folder, clock=clock, tokens=Tokens(tokens)))

    with served() as base, served() as other:
        desk, replica = Client(base, token), Client(other, token)
        before = desk.json("/v1/regions/riverton/scores")
        (taken,) = json.loads(desk.post(PATH, SENT).data)["decisions"]
        assert said(taken) == ("acknowledged", "unit sent", "desk")
        assert {name: taken[name] for name in PLACE} == PLACE
        assert waited(lambda: in_force(replica) == [taken])
        assert desk.json("/v1/regions/riverton/scores") == before
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
    cell = {"first": "r004c002", "last": "r004c002"}
    with running(toy_service(folder)) as base:
        for decision in (SENT, {**SENT, **cell}):
            assert Client(base).post(PATH, decision).status == 200
        on_cell, on_place = in_force(Client(base))
    assert on_place["observed"] == 5, "of its own category, in the hours of the place"
    assert on_cell["observed"] == frame.observed_1h[4 * 5 + 2, 0]


def test_the_newest_decision_of_a_place_counts_also_after_a_restart_and_is_withdrawn(folder):
    with running(toy_service(folder)) as base:
        for decision in (SENT, FIREWORKS, {**SENT, "category": "battery", "hours": 24}):
            assert Client(base).post(PATH, decision).status == 200
    clock = Clock()
    clock.ahead_s = 23 * 3600
    with running(toy_service(folder, clock=clock)) as base:
        client = Client(base)
        assert [said(each)[:2] for each in in_force(client)] == [
            ("acknowledged", "unit sent"), ("overridden", "planned fireworks")]  # fmt: skip
        client.post(PATH, {**FIREWORKS, "what": "withdrawn", "reason": "rain", "hours": 1})
        assert [each["category"] for each in in_force(client)] == ["battery"]
        reasons = [each["reason"] for each in client.json(f"{PATH}/record")["decisions"]]
        assert reasons == ["rain", "unit sent", "planned fireworks", "unit sent"]
        assert len(client.json(f"{PATH}/record?limit=1")["decisions"]) == 1


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
    with running(toy_service(folder)) as base:
        for wrong, status in WRONG:
            assert Client(base).post(PATH, {**SENT, **wrong}).status == status, wrong
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
    with running(toy_service(folder)) as base:
        assert Client(base).post(PATH, SENT).status == 200
    leave_frame(folder, **frame)
    with running(toy_service(folder)) as base:
        refused = Client(base).post(PATH, FIREWORKS)
        assert (refused.status, json.loads(refused.data)["detail"].endswith(why)) == (409, True)
        assert len(in_force(Client(base))) == 1
        assert Client(base).post(PATH, {**SENT, "what": "withdrawn"}).status == 200
        assert in_force(Client(base)) == []


def test_while_scores_are_withheld_a_decision_is_withdrawn_and_an_inspector_reads_the_record(folder):
    with running(toy_service(folder)) as base:
        assert Client(base).post(PATH, SENT).status == 200
    withheld = Withheld(since_s=1_764_000_000, because="the council asked for it")
    withheld_path(folder).write_bytes(msgspec.json.encode(withheld))
    with running(toy_service(folder)) as base:
        client = Client(base)
        refused = client.post(PATH, FIREWORKS)
        assert (refused.status, json.loads(refused.data)["detail"]) == (503, withheld.in_words())
        assert [said(each)[0] for each in in_force(client)] == ["acknowledged"]
        assert client.post(PATH, {**SENT, "what": "withdrawn", "reason": "no more"}).status == 200
        assert in_force(client) == []
        assert [each["reason"] for each in client.json(f"{PATH}/record")["decisions"]] == ["no more", "unit sent"]


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


def test_a_page_of_another_site_decides_nothing(folder, tokens):
    token, named = make_token(tokens, "desk", [], role="dispatcher"), "https://map.example.org"
    with running(toy_service(folder, tokens=Tokens(tokens), origins=[named])) as base:
        asked = [
            ({"Cookie": f"risk_token={token}"}, "https://evil.example"),
            ({"Authorization": f"Bearer {token}"}, "https://evil.example"),
            ({"Authorization": f"Bearer {token}"}, "null"),
            ({"Cookie": f"risk_token={token}"}, named),
            ({"Authorization": f"Bearer {token}"}, named),
            ({"Cookie": f"risk_token={token}"}, base),
        ]
        statuses = [
            Client(base).ask(PATH, method="POST", json=SENT, headers={**who, "Origin": origin}).status
            for who, origin in asked
        ]
    assert statuses == [403, 403, 403, 403, 200, 200]


def test_a_decision_of_another_region_is_not_on_record_here_and_one_of_an_older_version_says_no_number(folder):
    """An address of two methods names both where neither is asked."""
    details = {**PLACE, "what": "acknowledged", "reason": "unit sent", **ENDLESS}
    for region in ("elsewhere", "riverton"):
        record(folder / "audit.jsonl", "place_decided", {**details, "region": region}, at_s=Clock()())
    with running(toy_service(folder)) as base:
        assert [each["observed"] for each in in_force(Client(base))] == [None]
        assert len(Client(base).json(f"{PATH}/record")["decisions"]) == 1
        answer = Client(base).ask(PATH, method="DELETE")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET, POST")


def test_nothing_is_decided_that_cannot_be_recorded(folder):
    (folder / "audit.jsonl").mkdir()
    with running(toy_service(folder)) as base:
        answer = Client(base).post(PATH, SENT)
        assert (answer.status, json.loads(answer.data)["detail"][:19]) == (503, "nothing is decided:")
        assert in_force(Client(base)) == []


def test_a_log_is_read_back_no_further_than_a_decision_can_last(folder):
    clock = Clock()
    with running(toy_service(folder, clock=clock)) as base:
        for hour, reason in enumerate(("first", "second", "third")):
            clock.ahead_s = 3600 * hour
            Client(base).post(PATH, {**SENT, "what": "withdrawn", "reason": reason})
    content = read_log(folder / "audit.jsonl")
    third, second, _ = decisions_in(content)
    assert list(decisions_in(content, second["at"])) == [third, second]
    assert list(decisions_in(content + content[:40])) == list(decisions_in(content))

"""The stream tells of every new frame, and of one that has become stale; what the folder holds is followed."""

import json
import re
import time
from collections import Counter
from contextlib import contextmanager

import pytest

from schemas.frame import frame_path
from service.app import SIGN_OF_LIFE_S
from service.page import part
from service.service import Frames
from tests.harness.service import Client, Clock, leave_frame, waited
from tests.unit.service.conftest import SCORES, made_token, problem, served


@pytest.fixture
def clock():
    return Clock()


@contextmanager
def events(client):
    """The events of a stream as they come, to a client that takes gzip, as browsers do."""
    answer = client.ask("/v1/stream", headers={"Accept-Encoding": "gzip"}, preload_content=False)
    assert "Content-Encoding" not in answer.headers
    assert answer.headers["Content-Type"].startswith("text/event-stream")

    def read():
        text = b""
        for sent in answer.stream(1):
            text += sent
            while b"\n\n" in text:
                event, _, text = text.partition(b"\n\n")
                if event.startswith(b"event: frame\ndata: "):
                    yield json.loads(event.partition(b"data: ")[2])

    try:
        yield read()
    finally:
        answer.close()


def test_a_stream_begins_with_every_region_and_goes_on_with_what_is_new(tmp_path, clock):
    first = leave_frame(tmp_path, "riverton")[0]
    with served(tmp_path, clock=clock) as client, events(client) as stream:
        assert next(stream)["digest"] == first.digest()
        second = leave_frame(tmp_path, "riverton", seed=8)[0]
        assert next(stream)["digest"] == second.digest()
        other = leave_frame(tmp_path, "lakeside")[0]
        event = next(stream)
        assert (event["region"], event["digest"], event["stale"]) == ("lakeside", other.digest(), False)
        clock.ahead_s = 3600
        assert [next(stream)["stale"] for _ in range(2)] == [True, True]


def test_a_stream_shows_the_regions_of_its_token_and_ends_with_it(tmp_path, clock):
    for region in ("riverton", "lakeside"):
        leave_frame(tmp_path, region)
    token = made_token(tmp_path, regions=["riverton"])
    with served(tmp_path, token, clock=clock) as client, events(client) as stream:
        assert next(stream)["region"] == "riverton"
        (tmp_path / "tokens.jsonl").write_text("", encoding="utf-8")
        assert list(stream) == []


def test_so_many_streams_are_served_and_one_more_when_another_has_ended(tmp_path, clock):
    """198 of the 200 are supposed to be open already."""
    leave_frame(tmp_path, "riverton")
    with served(tmp_path, clock=clock, streams=Counter(others=198)) as client, events(client) as stream:
        assert next(stream)["region"] == "riverton"
        with events(client) as last:
            assert next(last)["region"] == "riverton"
            refused = client.get("/v1/stream")
            assert (refused.status, refused.headers["Retry-After"]) == (503, "10")
            assert b"200 streams are open" in refused.data
        leave_frame(tmp_path, "riverton", seed=8)  # who has gone is noticed when it is sent something
        assert waited(lambda: b"incident_risk_service_streams 199.0" in client.get("/metrics").data)
        with events(client) as next_one:
            assert next(next_one)["region"] == "riverton"


def test_one_token_takes_no_stream_from_another(tmp_path, clock):
    """49 of the 50 are supposed to be open already."""
    leave_frame(tmp_path, "riverton")
    walls, desk = (made_token(tmp_path, name) for name in ("walls", "desk"))
    with served(tmp_path, walls, clock=clock, streams=Counter(walls=49)) as client, events(client) as stream:
        assert next(stream)["region"] == "riverton"
        refused = client.get("/v1/stream")
        assert (refused.status, refused.headers["Retry-After"]) == (429, "10")
        assert b"ask /v1/regions" in refused.data
        with events(Client(client.base, desk)) as other:
            assert next(other)["region"] == "riverton"


def test_a_stream_without_news_says_that_it_lives_by_an_event_that_scripts_hear(tmp_path, monkeypatch):
    """It is an event with data: a browser gives its script neither comments nor events without."""
    monkeypatch.setattr("service.app.SIGN_OF_LIFE_S", 0.5)  # in place of ten
    monkeypatch.setattr("service.service._LOOK_EVERY_S", 0.05)
    leave_frame(tmp_path)
    with served(tmp_path) as client:
        began_s = time.monotonic()
        answer = client.ask("/v1/stream", preload_content=False)
        lines = [answer.readline() for _ in range(3 * 4)]
        took_s = time.monotonic() - began_s
        answer.close()
    assert lines[0::3] == [b"event: frame\n", *[b"event: alive\n"] * 3]
    assert lines[1::3][1:] == [b"data: {}\n"] * 3
    assert took_s > 3 * 0.5, "not at every look"


def test_the_page_waits_for_two_signs_of_life():
    (quiet_s,) = re.findall(r"QUIET_S = (\d+)", part("follow.js"))
    assert int(quiet_s) > 2 * SIGN_OF_LIFE_S


def test_a_file_that_is_damaged_leaves_the_frame_before_it_and_one_that_is_gone_none(tmp_path):
    frames = Frames(tmp_path / "later")
    frames.look()  # of a folder that is not there yet
    assert not frames.by_region
    digest, path = leave_frame(tmp_path / "later")[0].digest(), frame_path(tmp_path / "later", "riverton")
    frames.look()
    path.write_bytes(path.read_bytes()[:-1])
    frames.look()
    frames.look()
    assert {region: frame.digest for region, frame in frames.by_region.items()} == {"riverton": digest}
    assert frames.unreadable == 1  # read once, not in every look
    path.unlink()
    frames.look()
    assert not frames.by_region


def test_a_longer_tick_may_be_older(tmp_path, clock):
    leave_frame(tmp_path, "riverton", age_s=600)
    leave_frame(tmp_path, "lakeside", age_s=600, tick_s=300)
    with served(tmp_path, clock=clock) as client:
        regions = client.json("/v1/regions")["regions"]
    assert {each["region"]: each["stale"] for each in regions} == {"lakeside": False, "riverton": True}


def test_figures_for_prometheus(tmp_path, clock):
    leave_frame(tmp_path)
    with served(tmp_path, clock=clock) as client:
        client.get(SCORES)
        client.get("/v1/regions/nowhere/scores")
        text = client.get("/metrics").data.decode()
    route = 'route="/v1/regions/{region}/scores"'
    assert f'incident_risk_service_requests_total{{method="GET",{route},status="200"}} 1.0' in text
    assert f'incident_risk_service_requests_total{{method="GET",{route},status="404"}} 1.0' in text
    assert 'incident_risk_service_stale{region="riverton"} 0.0' in text
    assert "nowhere" not in text


def test_an_error_that_nobody_foresaw_makes_the_service_unhealthy_until_a_look_succeeds(tmp_path, clock, monkeypatch):
    leave_frame(tmp_path, "riverton")
    with served(tmp_path, clock=clock) as client:
        assert client.get("/health").status == 200
        with monkeypatch.context() as broken:
            broken.setattr(Frames, "look", lambda self: 1 / 0)
            assert waited(lambda: client.get("/health").status == 503)
            assert "cannot be looked at" in problem(client.get("/health"))[1]
        assert waited(lambda: client.get("/health").status == 200)

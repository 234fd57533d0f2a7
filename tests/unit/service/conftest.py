"""A service with one frame, and a client of it."""

from contextlib import contextmanager
from functools import cache
from itertools import product

import msgspec
import pytest

from schemas.records import Withheld, withheld_path
from service.app import document
from service.tokens import Tokens, make_token
from tests.harness.service import Client, Clock, area_of, leave_frame, running, toy_service

SCORES, UNUSUAL = "/v1/regions/riverton/scores", "/v1/regions/riverton/unusual"
POSTS, DECISIONS = "/v1/regions/riverton/posts", "/v1/regions/riverton/decisions"
SQUARE = [[[-87.895, 41.605], [-87.86, 41.605], [-87.86, 41.63], [-87.895, 41.63], [-87.895, 41.605]]]
NORTH = area_of("North", [SQUARE])
CHOICES = list(product(("all", "theft", "battery"), (0, 1, 2)))
WITHHELD = Withheld(since_s=1_764_000_000, because="the council asked for it")
DESCRIBED = cache(document)


@pytest.fixture(scope="module", autouse=True)
def _described_once():
    """The OpenAPI document takes a third of the start of a service, and is the same for all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("service.app.document", DESCRIBED)
        yield


def withhold(folder):
    withheld_path(folder).write_bytes(msgspec.json.encode(WITHHELD))


@contextmanager
def served(folder, token=None, **fields):
    """A client of a service of a folder: of its frames, and of its tokens if it has some. fields: of the service."""
    tokens = Tokens(folder / "tokens.jsonl") if (folder / "tokens.jsonl").exists() else None
    with running(toy_service(folder, tokens=tokens, **fields)) as base:
        yield Client(base, token)


def made_token(folder, name="desk", regions=(), **rights):
    return make_token(folder / "tokens.jsonl", name, regions, **rights)


def problem(answer):
    """Status and detail of an answer that must be a problem of RFC 9457."""
    assert answer.headers["Content-Type"] == "application/problem+json"
    said = answer.json()
    assert said.keys() == {"type", "title", "status", "detail"}
    return answer.status, said["detail"]


@pytest.fixture(scope="module")
def clock():
    return Clock()


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    return tmp_path_factory.mktemp("frames")


@pytest.fixture(scope="module")
def views(frames):
    return leave_frame(frames)


@pytest.fixture(scope="module")
def client(views, frames, clock):
    with served(frames, clock=clock, areas=[NORTH]) as client:
        yield client


@pytest.fixture
def an_hour_later(clock, monkeypatch):
    monkeypatch.setattr(clock, "ahead_s", 3600)


def column(views, category, horizon, name):
    frame, over_all = views
    view = over_all if category == "all" else frame
    array = getattr(view, name)[:, view.categories.index(category)]
    return array[:, horizon] if array.ndim > 1 else array

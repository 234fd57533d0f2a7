"""A service with one frame, and a client of it."""

from itertools import product

import pytest

from tests.harness.service import Client, Clock, area_of, leave_frame, running, toy_service

SQUARE = [[[-87.895, 41.605], [-87.86, 41.605], [-87.86, 41.63], [-87.895, 41.63], [-87.895, 41.605]]]

CHOICES = list(product(("all", "theft", "battery"), (0, 1, 2)))


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
    areas = [area_of("North", [SQUARE])]
    with running(toy_service(frames, clock=clock, areas=areas)) as base:
        yield Client(base)


@pytest.fixture
def an_hour_later(clock, monkeypatch):
    monkeypatch.setattr(clock, "ahead_s", 3600)


def column(views, category, horizon, name):
    frame, over_all = views
    view = over_all if category == "all" else frame
    array = getattr(view, name)[:, view.categories.index(category)]
    return array[:, horizon] if array.ndim > 1 else array

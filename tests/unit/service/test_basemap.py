"""What a base map may be, what the page's policy then allows, and who gets the ranges of a file."""

import re

import pytest

from schemas.errors import SettingsError
from service.basemap import basemap_of
from tests.harness.service import Client, leave_frame, running, toy_service
from tests.harness.tiles import leave_tiles
from tests.unit.service.conftest import made_token, served

TILES = "https://gis.example.org/{z}/{x}/{y}.png"
WMS = "https://gis.example.org:8443/wms?layers=roads&version=1.3.0"


@pytest.fixture
def file(tmp_path):
    leave_frame(tmp_path)
    return leave_tiles(tmp_path / "town.pmtiles")


def test_the_policy_allows_exactly_what_was_named(tmp_path, file):
    sources = {TILES: "https://gis.example.org", WMS: "https://gis.example.org:8443", str(file): "blob:"}
    service, policies = toy_service(tmp_path), []
    with running(service) as base:
        for given in (None, *sources):
            service.basemap = basemap_of(given, "County") if given else None
            policies.append(Client(base).get("/").headers["Content-Security-Policy"])
    without, *others = policies
    assert "img-src data:;" in without
    assert others == [without.replace("img-src data:;", f"img-src data: {source};") for source in sources.values()]


def test_a_file_says_whose_it_is_and_an_address_must_be_told(file):
    assert (basemap_of(str(file)).kind, basemap_of(str(file)).credit) == ("raster", "City & County")
    assert basemap_of(str(file), "Mine").credit == "Mine"
    assert [basemap_of(given, "County").kind for given in (TILES, WMS)] == ["xyz", "wms"]
    with pytest.raises(SettingsError, match="nobody says whose map it is"):
        basemap_of(TILES)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("https://gis.example.org/wms", "neither tiles nor a WMS"),
        ("https://user:pass@gis.example.org/{z}/{x}/{y}.png", "names no one server"),
        ("https://*.example.org/{z}/{x}/{y}.png", "names no one server"),
        ("https://gis.example.org;script-src *//{z}/{x}/{y}", "names no one server"),
        ("nowhere.pmtiles", "cannot be read"),
        (__file__, "is no file of PMTiles"),
    ],
)
def test_anything_else_is_refused_with_what_may_be_given(given, says):
    with pytest.raises(SettingsError, match=re.escape(says)) as refused:
        basemap_of(given, "County")
    assert "PMTiles" in refused.value.remedy


def test_ranges_of_the_file_are_for_those_who_may_see_the_map(tmp_path, file):
    path, head = "/basemap.pmtiles", {"Range": "bytes=0-126"}
    with served(tmp_path) as client:
        assert client.get(path, **head).status == 404
    with served(tmp_path, made_token(tmp_path), basemap=basemap_of(str(file))) as client:
        part, whole, stranger = client.get(path, **head), client.get(path), Client(client.base).get(path, **head)
    assert (part.status, part.data) == (206, file.read_bytes()[:127])
    assert (whole.status, stranger.status) == (416, 401)

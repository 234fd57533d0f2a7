"""OGC API Features: pages that add up, boxes and times that hold what they say."""

import json

import pytest

from schemas.left_behind.frame_file import StoredFrames
from service.answers import ogc
from service.answers.written import NUMBERS
from tests.harness.service import Client, leave_frame, running, toy_service, waited
from tests.unit.service.answers.conftest import column

ITEMS = "/ogc/collections/riverton.all.1h/items"


def test_the_landing_page_leads_to_every_cell(client, views):
    links = {link["rel"]: link["href"] for link in client.json("/ogc")["links"]}
    assert links.keys() == {"self", "service-desc", "conformance", "data"}
    for href in links.values():
        assert json.loads(client.pool.request("GET", href).data)
    collections = json.loads(client.pool.request("GET", links["data"]).data)["collections"]
    assert len(collections) == 9
    items = [link["href"] for link in collections[0]["links"] if link["rel"] == "items"]
    assert len(json.loads(client.pool.request("GET", items[0]).data)["features"]) == views[0].spec.grid.cells


def test_behind_a_proxy_links_begin_with_its_address(views, frames):
    with running(toy_service(frames, url="https://scores.example.org/risk/")) as base:
        links = Client(base).json("/ogc")["links"]
    assert {link["href"].startswith("https://scores.example.org/risk/o") for link in links} == {True}


@pytest.mark.parametrize("limit", [1, 7, 29, 30, 31])
def test_the_pages_have_every_cell_once(client, views, limit):
    cells, href = [], client.base + f"{ITEMS}?limit={limit}"
    while href:
        page = json.loads(client.pool.request("GET", href).data)
        assert page["numberReturned"] == len(page["features"]) <= limit
        assert page["numberMatched"] == 30
        cells += [feature["id"] for feature in page["features"]]
        href = next((link["href"] for link in page["links"] if link["rel"] == "next"), None)
    ids, support = views[0].spec.grid.cell_ids(), column(views, "all", 0, "support")
    assert cells == [ids[cell] for cell in sorted(range(30), key=lambda cell: support[cell] == 0)]
    assert 0 < (support == 0).sum() < 30


def test_pages_are_of_one_frame_and_410_when_it_is_gone(tmp_path):
    """Frames change between two pages: each second under load."""
    leave_frame(tmp_path, seed=1)
    service = toy_service(tmp_path)
    with running(service) as base:
        client = Client(base)
        first = client.json(f"{ITEMS}?limit=20")
        (following,) = [link["href"] for link in first["links"] if link["rel"] == "next"]
        leave_frame(tmp_path, seed=2, age_s=1)
        assert waited(lambda: client.json(f"{ITEMS}?limit=30")["digest"] != first["digest"])
        second = client.json(following.removeprefix(base))
        assert {page["digest"] for page in (first, second)} == {first["digest"]}
        assert len({feature["id"] for page in (first, second) for feature in page["features"]}) == 30
        service.frames._paged.clear()
        assert client.get(following.removeprefix(base)).status == 410


def test_so_many_frames_are_kept_for_paging_and_the_last_used_stay_longest(views, tmp_path):
    frames = toy_service(tmp_path).frames
    stored = [
        StoredFrames(
            by_category=views[0], over_all=views[1], clock="wall", digest=f"{n:016x}", change="", change_since_s=0
        )
        for n in range(20)
    ]
    for each in stored:
        frames.keep(stored[0])
        frames.keep(each)
    assert [n for n in range(20) if frames.of_digest("riverton", f"{n:016x}")] == [0, *range(5, 20)]
    assert frames.of_digest("elsewhere", stored[0].digest) is None


@pytest.mark.parametrize("path", ["/v1/regions/riverton/scores?format=geojson&", f"{ITEMS}?"])
def test_a_layer_says_lift_and_how_old_it_is_and_no_number_without_history(client, path):
    head = client.json(path + "limit=100" if "ogc" in path else path)
    bare = 0
    for feature in head["features"]:
        said = feature["properties"]
        assert (said["as_of"], said["stale"]) == (head["as_of"], False)
        numbers = [said[name] for name in (*NUMBERS, "lift")]
        if said["support"] == "no_history":
            bare += 1
            assert numbers == [None] * 6
        else:
            assert said["lift"] == pytest.approx(max(said["expected"], 1e-6) / max(said["usual"], 1e-6), rel=1e-6)
    assert 0 < bare < 30


def test_a_layer_of_an_old_frame_says_so_in_each_feature(client, an_hour_later):
    assert {feature["properties"]["stale"] for feature in client.json(ITEMS)["features"]} == {True}
    assert client.json(f"{ITEMS}/r000c000")["properties"]["stale"] is True


@pytest.mark.parametrize(
    ("box", "touched"),
    [
        ((-87.8999, 41.6001, -87.8761, 41.6089), {"r000c000", "r000c001"}),
        ((-87.0, 41.0, -86.0, 42.0), set()),
        ((-87.8999, 41.6001, -87.8999, 41.6001), {"r000c000"}),
    ],
)
def test_a_box_has_the_cells_that_it_touches(client, box, touched):
    answer = client.json(f"{ITEMS}?bbox={','.join(map(str, box))}")
    assert {feature["id"] for feature in answer["features"]} == touched


def test_the_heights_of_a_box_are_ignored(client):
    flat = client.json(f"{ITEMS}?bbox=-87.8999,41.6001,-87.8761,41.6089")["features"]
    assert client.json(f"{ITEMS}?bbox=-87.8999,41.6001,-400,-87.8761,41.6089,8848.9")["features"] == flat
    assert client.get(f"{ITEMS}?bbox=-87.8999,41.6001,-87.8761,41.6089,0").status == 400


def test_more_than_the_largest_page_is_the_largest_page(client, monkeypatch):
    assert client.json(f"{ITEMS}?limit={ogc.MOST_FEATURES + 1}")["numberReturned"] == 30
    monkeypatch.setattr(ogc, "MOST_FEATURES", 7)
    page = client.json(f"{ITEMS}?limit=10000000")
    assert page["numberReturned"] == 7
    assert any("limit=7&offset=7" in link["href"] for link in page["links"])


def test_a_box_over_longitude_180_goes_around(client):
    assert client.json(f"{ITEMS}?bbox=170,41,-87.85,42")["numberMatched"] == 30
    assert client.json(f"{ITEMS}?bbox=170,41,-100,42")["numberMatched"] == 0


@pytest.mark.parametrize(
    ("when", "matched"),
    [
        ("{}", 30),
        ("../..", 30),
        ("{}/..", 30),
        ("../{}", 30),
        ("2020-01-01T00:00:00Z/2020-12-31T00:00:00Z", 0),
        ("2020-01-01T00:00:00%2B01:00/..", 30),
        ("2020-01-01T00:00:00Z", 0),
    ],
)
def test_a_time_holds_the_frame_or_does_not(client, when, matched):
    as_of = client.json("/v1/regions")["regions"][0]["as_of"]
    assert client.json(f"{ITEMS}?datetime={when.format(as_of)}")["numberMatched"] == matched


def test_a_parameter_that_cannot_be_read_is_named_with_its_meaning_and_no_pattern(client):
    detail = json.loads(client.get(f"{ITEMS}?bbox=1,2,3").data)["detail"]
    assert detail.startswith("query bbox: 1,2,3 is not west,south,east,north in degrees")


def test_a_feature_alone_is_the_same_as_in_its_collection(client):
    (first, *_) = client.json(f"{ITEMS}?limit=1")["features"]
    alone = client.json(f"{ITEMS}/{first['id']}")
    assert {name: alone[name] for name in first} == first

"""The `cells` command: the map's polygons have the ids that the sink writes as tags."""

import json
import math
import re
import shutil
from collections import Counter

import jsonschema
import pytest

from schemas.areas import cells_inside, read_areas
from schemas.errors import ArtifactError, SettingsError
from schemas.grid import Grid
from streaming.cli.maps import ALL_REGIONS, read_streets, view_of
from tests.harness.gate_town import command
from tests.harness.pages import ROOT
from tests.harness.region import make_region

NORTH, SOUTH = make_region("north", south_deg=42.0).spec, make_region("all", south_deg=38.0).spec


def ids(collection):
    return [feature["id"] for feature in collection["features"]]


def cells(artifacts, *options):
    return command("cells", *options, RISK_ARTIFACTS=str(artifacts))


def content(path):
    return json.loads(path.read_text(encoding="utf-8"))


def shapes_file(path, *shapes, **more):
    """GeoJSON of (kind, coordinates, properties)."""
    features = [
        {"type": "Feature", "properties": properties, "geometry": {"type": kind, "coordinates": coordinates}}
        for kind, coordinates, properties in shapes
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features} | more), encoding="utf-8")
    return path


def test_it_writes_a_file_per_region_and_one_of_all_with_a_geohash_of_its_own_for_every_cell(tmp_path):
    with pytest.raises(ArtifactError, match="train"):
        cells(tmp_path, "--out", tmp_path)
    for name, south_deg in (("north", 42.0), ("all", 38.0)):
        make_region(name, south_deg=south_deg).publish(tmp_path / "artifacts")
    out = tmp_path / "cells"
    cells(tmp_path / "artifacts", "--out", out)
    names = {"north.geojson", "_lines-north.geojson", "all.geojson", "_lines-all.geojson", ALL_REGIONS, "_ground.svg"}
    assert {path.name for path in out.iterdir()} == names
    assert content(out / "north.geojson") == json.loads(json.dumps(NORTH.grid.geojson()))
    together = content(out / ALL_REGIONS)
    regions = [feature["properties"]["region"] for feature in together["features"]]
    by_region = {"north": NORTH.grid, "all": SOUTH.grid}
    assert ids(together) == [geohash for name in dict.fromkeys(regions) for geohash in by_region[name].geohashes()]
    assert Counter(regions) == {name: grid.cells for name, grid in by_region.items()}
    assert len(set(ids(together))) == NORTH.grid.cells + SOUTH.grid.cells


def test_a_damaged_artifact_leaves_the_map_of_the_sound_ones(tmp_path):
    """Grafana waits for this command, with all pages and alerts."""
    north, south = (make_region(name, south_deg=deg) for name, deg in (("north", 42.0), ("south", 38.0)))
    older = north.publish(tmp_path / "artifacts")
    newer, only = (
        north.publish(tmp_path / "artifacts", created="20260102T000000Z"),
        south.publish(tmp_path / "artifacts"),
    )
    for folder in (newer, only):
        (folder / "manifest.json").write_text("{", encoding="utf-8")
    said = cells(tmp_path / "artifacts", "--out", tmp_path / "out")
    assert {"north.geojson", "_all.geojson"} <= {path.name for path in (tmp_path / "out").iterdir()}
    assert not (tmp_path / "out" / "south.geojson").exists()
    for folder in (newer, only):
        assert f"left out: {folder}" in said
    shutil.rmtree(older)
    with pytest.raises(ArtifactError, match=r"manifest\.json cannot be used"):
        cells(tmp_path / "artifacts", "--out", tmp_path / "out")


DASHBOARD = {
    "uid": "risk-live",
    "title": "Live risk map",
    "templating": {
        "list": [
            {"name": "region", "label": "Region", "description": "", "type": "query", "multi": False},
            {"name": "area", "type": "custom", "valuesFormat": "json", "query": "[]", "allValue": ".*", "hide": 2},
        ]
    },
    "panels": [
        {"type": "stat", "options": {}, "targets": []},
        {
            "type": "geomap",
            "options": {
                "view": {"id": "fit", "lat": 0, "lon": 0, "zoom": 10},
                "basemap": {"type": "xyz", "name": "Land", "config": {"url": "public/cells/_ground.svg"}},
                "layers": [
                    {"type": "carto", "config": {}},
                    {"type": "markers", "config": {"size": 4}},
                    {
                        "type": "dynamic-geojson",
                        "config": {"src": "public/cells/_all.geojson", "idField": "geohash", "opacity": 0.6},
                    },
                ],
            },
        },
    ],
}
LIVE_MAP = json.dumps(DASHBOARD)


def made(tmp_path, *regions, options=(), live_map=LIVE_MAP):
    """The pages of a command with a live map, by the file's name."""
    for name, south_deg in regions:
        make_region(name, south_deg=south_deg).publish(tmp_path / "artifacts")
    if live_map:
        (tmp_path / "live.json").write_text(live_map, encoding="utf-8")
    cells(tmp_path / "artifacts", "--out", tmp_path / "out", "--live-map", tmp_path / "live.json", *options)
    return {path.stem: content(path) for path in (tmp_path / "out" / "dashboards").iterdir()}


def test_the_live_map_of_one_region_opens_at_its_cells_and_that_of_several_fits_itself_to_the_chosen_one(tmp_path):
    (dashboard,) = made(tmp_path, ("north", 42.0)).values()
    view = dashboard["panels"][1]["options"]["view"]
    assert view == view_of(make_region("north", south_deg=42.0).spec.grid)
    dashboard["panels"][1]["options"]["view"] = DASHBOARD["panels"][1]["options"]["view"]
    assert dashboard == DASHBOARD
    assert made(tmp_path, ("south", 38.0))["live"] == DASHBOARD


def test_each_of_several_regions_has_a_live_map_of_its_own(tmp_path):
    long = "s" * 63
    pages = made(tmp_path, ("north", 42.0), (long, 38.0))
    assert set(pages) == {"live", "live-north", f"live-{long}"}
    shutil.rmtree(tmp_path / "artifacts" / long)
    assert list(made(tmp_path)) == ["live"], "the page of a region that has gone"
    uids = {page["uid"] for page in pages.values()}
    assert len(uids) == 3
    assert max(map(len, uids)) <= 40  # Grafana's limit
    for region, south_deg in (("north", 42.0), (long, 38.0)):
        page, grid = pages[f"live-{region}"], make_region(region, south_deg=south_deg).spec.grid
        variable = page["templating"]["list"][0]
        assert (variable["type"], variable["query"], variable["current"]["value"]) == ("custom", region, region)
        options = page["panels"][1]["options"]
        assert options["view"] == view_of(grid)
        *others, cells_of_it = options["layers"]
        assert others == DASHBOARD["panels"][1]["options"]["layers"][:2]
        config = {"src": f"public/cells/{region}.geojson", "idField": "cell", "opacity": 0.6}
        assert cells_of_it["config"] == config
        assert set(ids(content(tmp_path / "out" / f"{region}.geojson"))) == set(grid.cell_ids())


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_a_live_map_that_is_none_is_named(tmp_path, content):
    with pytest.raises(SettingsError, match=r"live\.json"):
        made(tmp_path, ("north", 42.0), live_map=content)


def tile_pixel(lat_deg, lon_deg, zoom):
    """Pixel of a place on the world's web map, by the tile formula of OpenStreetMap's wiki: secant and tangent."""
    side, lat = 256 * 2**zoom, math.radians(lat_deg)
    y = (1 - math.log(math.tan(lat) + 1 / math.cos(lat)) / math.pi) / 2
    return side * (lon_deg + 180) / 360, side * y


@pytest.mark.parametrize(
    ("south_deg", "west_deg", "rows", "cols"), [(41.6, -87.9, 43, 34), (-33.9, 151.0, 10, 200), (60.1, 24.6, 90, 20)]
)
def test_the_view_shows_the_whole_grid_as_large_as_it_goes(south_deg, west_deg, rows, cols):
    grid = Grid(south_deg=south_deg, west_deg=west_deg, cell_m=1000, rows=rows, cols=cols)
    view = view_of(grid)
    lat, lon = grid.corners()
    middle = tile_pixel(view["lat"], view["lon"], view["zoom"])
    shares = []
    for corner in ((lat[0], lon[0]), (lat[-1], lon[-1])):
        x, y = tile_pixel(*corner, view["zoom"])
        shares += [abs(x - middle[0]) / 400, abs(y - middle[1]) / 225]
    assert 2**-0.11 < max(shares) <= 1.001


def corner_of(region):
    """Ring around the south-west cell of a region, and nothing of another."""
    (west, south), _, (east, north), *_ = region.grid.polygon(0)
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


def test_the_page_of_a_region_has_its_areas_to_choose_from_and_their_outlines(tmp_path):
    areas = shapes_file(tmp_path / "areas.geojson", ("Polygon", [corner_of(NORTH)], {"beat": 7}))
    pages = made(tmp_path, ("north", 42.0), ("all", 38.0), options=("--areas", areas, "--area-name", "beat"))
    variables = {name: page["templating"]["list"][-1] for name, page in pages.items()}
    assert json.loads(variables["live-north"]["query"]) == [{"text": "7", "value": "7", "cells": "r000c(000)"}]
    hidden = {name: variable["hide"] for name, variable in variables.items()}
    assert hidden == {"live": 2, "live-all": 2, "live-north": 0}, "of another region it would choose wrong cells"
    lines = content(tmp_path / "out" / "_lines-north.geojson")["features"]
    assert [line["properties"] for line in lines] == [{}, {"area": "7"}]
    assert len(content(tmp_path / "out" / "_lines-all.geojson")["features"]) == 1


def test_a_page_of_one_region_calls_its_cells_by_their_area_or_the_nearest_place_and_the_store_has_no_name(tmp_path):
    override = {"matcher": {"id": "byName", "options": "cell"}, "properties": []}
    unusual = {
        "type": "stat",
        "targets": [{"query": 'SELECT last("says") AS "says" FROM "unusual"'}],
        "fieldConfig": {"defaults": {"mappings": []}, "overrides": []},
    }
    table = {"type": "table", "fieldConfig": {"overrides": [override]}}
    page = DASHBOARD | {"panels": [*DASHBOARD["panels"], unusual, table]}
    ring, grid = corner_of(NORTH), NORTH.grid
    places = [("Point", ring[2], {"name": "$Mill"}), ("LineString", ring, {})]
    streets = shapes_file(tmp_path / "streets.json", *places)
    areas = shapes_file(tmp_path / "areas.json", ("Polygon", [ring], {"name": "Old Town"}))
    options = ("--streets", streets, "--areas", areas)
    (single,) = made(tmp_path, ("north", 42.0), options=options, live_map=json.dumps(page)).values()
    several = made(tmp_path, ("south", 38.0), options=options, live_map=json.dumps(page))
    assert several["live"]["panels"][-1] == page["panels"][-1], "all regions have the same cell ids"

    def patterns(mappings):
        """By what is shown."""
        return {each["options"]["result"]["text"]: each["options"]["pattern"].strip("/") for each in mappings}

    for made_page in (single, several["live-north"]):
        sentences, cells_of_it = (panel["fieldConfig"] for panel in made_page["panels"][-2:])
        by_name = patterns(cells_of_it["overrides"][0]["properties"][0]["value"])
        inside = [cell for cell in grid.cell_ids() if re.search(by_name["$1Old Town · $2"], cell)]
        assert inside == [grid.cell_ids()[cell] for cell in cells_inside(read_areas(areas, "name")[0], grid)] != []
        assert "$1$$Mill · $2" in by_name
        of_sentences = patterns(sentences["defaults"]["mappings"])["$1Old Town · $2"]
        feed, numbers = "FEED SILENT: ems since 3 Mar 14:05: 0 instead of 23; ", ": 8 instead of 0.2 in 1 h (fire 8)"
        for sentence, shown in {
            f"fire at {inside[0]}{numbers}": f"fire at Old Town · {inside[0]}{numbers}",
            f"{feed}fire at {inside[0]} to r9c9{numbers}": f"{feed}fire at Old Town · {inside[0]} to r9c9{numbers}",
            f"fire at r999c999 to {inside[0]}{numbers}": f"fire at r999c999 to {inside[0]}{numbers}",
            f"fire at {inside[0]}1{numbers}": f"fire at {inside[0]}1{numbers}",
            f"fire in the whole region{numbers}": f"fire in the whole region{numbers}",
            feed: feed,
        }.items():
            assert re.sub(of_sentences, r"\1Old Town · \2", sentence) == shown


@pytest.mark.parametrize(
    ("more", "credit"), [({}, "Streets: source not named"), ({"attribution": "City of North"}, "City of North")]
)
def test_streets_from_a_file_need_no_tiles_and_name_their_source(tmp_path, more, credit):
    ring = corner_of(NORTH)
    far = [[10.0, 10.0], [10.1, 10.1]]
    lat, lon = NORTH.grid.corners()
    beyond = [lon[0] - 0.05 * (lon[-1] - lon[0]), float(lat[0])]  # so that a street does not end at the border
    lines = [("MultiLineString", lines, {}) for lines in ([ring], [far], [far, ring[:2]], [[beyond] * 3])]
    streets = shapes_file(tmp_path / "streets.geojson", ("Point", ring[0], {"name": "Mill"}), *lines, **more)
    (page,) = made(tmp_path, ("north", 42.0), options=("--streets", streets)).values()
    kept = content(tmp_path / "out" / "_streets.geojson")["features"]
    drawn = [len(line) for feature in kept for line in feature["geometry"]["coordinates"]]
    assert drawn == [5, 2, 3], "far streets only make the file larger"
    options = next(panel for panel in page["panels"] if panel["type"] == "geomap")["options"]
    assert options["basemap"]["config"] == {"url": "public/cells/_ground.svg", "attribution": credit}
    assert options["layers"][-1]["config"]["src"] == "public/cells/_streets.geojson"
    assert (tmp_path / "out" / "_ground.svg").read_text(encoding="utf-8").startswith("<svg")
    assert [layer["type"] for layer in options["layers"]] == ["markers", "dynamic-geojson", "geojson"], "no tiles"
    schema = content(ROOT / "tests/grafana/schema/by-hand.json")
    for layer in (options["basemap"], options["layers"][-1]):
        jsonschema.Draft7Validator(schema).validate({"layer": layer})


@pytest.mark.parametrize(
    ("kind", "features", "said"),
    [
        ("LineString", [[[10, 10], [11, 11]]], r"has no line at the cells"),
        ("LineString", [], r"has no feature"),
        ("LineString", [[[448_000, 4_620_000], [448_100, 4_620_100]]], r"448000, 4620000 is no longitude and latitude"),
        ("LineString", [[[41, 91], [41, 92]]], r"41, 91 is no longitude and latitude"),
        ("MultiPolygon", [[[[[1, 1]]]]], r"Polygon.*LineString"),
        ("LineString", [[[10, 10], [11]]], r"length >= 2"),
    ],
)
def test_a_file_without_streets_here_is_refused(tmp_path, kind, features, said):
    streets = shapes_file(tmp_path / "streets.geojson", *((kind, coordinates, {}) for coordinates in features))
    with pytest.raises(SettingsError, match=said):
        made(tmp_path, ("north", 42.0), options=("--streets", streets))


def test_a_place_without_a_name_is_left_out_and_a_street_keeps_its_own(tmp_path):
    corner = corner_of(NORTH)
    shapes = [("Point", corner[0], properties) for properties in ({"name": "Mill"}, {"name": ""}, {"ref": 7})]
    shapes += [("LineString", corner, {"name": "Main St"}), ("LineString", corner, {"name": 12})]
    shapes += [("Polygon", [corner], {"name": "Lake"}), ("Polygon", [corner], {"kind": "park"})]
    path = shapes_file(tmp_path / "streets.geojson", *shapes)
    features = read_streets(path, [NORTH.grid])["features"]
    assert [(feature["geometry"]["type"], feature["properties"]) for feature in features] == [
        ("Point", {"name": "Mill"}),
        ("MultiLineString", {"name": "Main St"}),
        ("MultiLineString", {}),
        ("Polygon", {"name": "Lake", "kind": "water"}),
        ("Polygon", {"kind": "park"}),
    ]

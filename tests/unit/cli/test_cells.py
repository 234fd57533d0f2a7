"""The `cells` command: the map's polygons have the ids that the sink writes as tags."""

from streaming.cli.cells import ALL_REGIONS, geojson_files
from tests.harness.region import make_region

NORTH, SOUTH = make_region("north", south_deg=42.0).spec, make_region("all", south_deg=38.0).spec


def ids(collection):
    return [feature["id"] for feature in collection["features"]]


def test_a_regions_file_has_its_cell_ids_as_feature_ids():
    files = geojson_files([NORTH, SOUTH])
    assert set(files) == {"north.geojson", "all.geojson", ALL_REGIONS}
    assert ids(files["north.geojson"]) == NORTH.grid.cell_ids()


def test_the_file_of_all_regions_has_a_geohash_of_its_own_for_every_cell():
    together = geojson_files([NORTH, SOUTH])[ALL_REGIONS]
    assert ids(together) == NORTH.grid.geohashes() + SOUTH.grid.geohashes()
    assert len(set(ids(together))) == NORTH.grid.cells + SOUTH.grid.cells
    regions = [feature["properties"]["region"] for feature in together["features"]]
    assert regions == ["north"] * NORTH.grid.cells + ["all"] * SOUTH.grid.cells

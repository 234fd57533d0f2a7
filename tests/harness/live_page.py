"""A service whose live map is opened in a browser."""

import json

import pytest

from schemas.areas import read_areas
from tests.harness.service import Client, toy_service, waited

NORTH = [[[-87.895, 41.605], [-87.86, 41.605], [-87.86, 41.63], [-87.895, 41.63], [-87.895, 41.605]]]
STREET = [[-87.9, 41.6], [-87.85, 41.64]]


def collection(shape, **properties):
    feature = {"type": "Feature", "properties": properties, "geometry": shape}
    return json.dumps({"type": "FeatureCollection", "features": [feature]})


@pytest.fixture
def page_folder(tmp_path):
    (tmp_path / "areas.json").write_text(collection({"type": "Polygon", "coordinates": NORTH}, name="North"))
    (tmp_path / "streets.json").write_text(collection({"type": "LineString", "coordinates": STREET}))
    return tmp_path


def the_service(folder, **fields):
    return toy_service(
        folder, areas=read_areas(folder / "areas.json", "name"), streets=folder / "streets.json", **fields
    )


def is_followed(base, token=None):
    """Whether a page comes to follow the stream of the service there."""
    return waited(lambda: b"incident_risk_service_streams 1.0" in Client(base, token).get("/metrics").data)

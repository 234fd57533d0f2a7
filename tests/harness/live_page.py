"""A service whose live map is opened in a browser."""

import json

import pytest

from schemas.areas import read_areas
from tests.harness.service import Client, toy_service, waited

NORTH = [[[-87.895, 41.605], [-87.86, 41.605], [-87.86, 41.63], [-87.895, 41.63], [-87.895, 41.605]]]
STREET = [[-87.9, 41.6], [-87.85, 41.64]]
# A script: draws the map anew and keeps the radii of its circles and where its texts stand.
DOTS = """
const radii = [], numbers = [], credit = document.getElementById('credit');
const { arc, fillText } = CanvasRenderingContext2D.prototype;
CanvasRenderingContext2D.prototype.arc = function (x, y, r, ...rest) {
  radii.push(r); return arc.call(this, x, y, r, ...rest);
};
CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
  numbers.push([String(text), Math.round(x), Math.round(y)]); return fillText.call(this, text, x, y);
};
document.getElementById('stage').style.width = '90%'; await new Promise((done) => setTimeout(done, 500));
"""


def collection(shape, **properties):
    feature = {"type": "Feature", "properties": properties, "geometry": shape}
    return json.dumps({"type": "FeatureCollection", "features": [feature]})


@pytest.fixture
def page_folder(tmp_path):
    (tmp_path / "areas.json").write_text(collection({"type": "Polygon", "coordinates": NORTH}, name="North"))
    streets = json.loads(collection({"type": "LineString", "coordinates": STREET}))
    (tmp_path / "streets.json").write_text(json.dumps({**streets, "attribution": "City of Riverton"}))
    return tmp_path


def the_service(folder, **fields):
    return toy_service(
        folder, areas=read_areas(folder / "areas.json", "name"), streets=folder / "streets.json", **fields
    )


def is_followed(base, token=None):
    """Whether a page comes to follow the stream of the service there."""
    return waited(lambda: b"incident_risk_service_streams 1.0" in Client(base, token).get("/metrics").data)

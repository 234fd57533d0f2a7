"""A service whose live map is opened in a browser."""

import json

import pytest

from schemas.areas import read_areas
from tests.harness.service import Client, toy_service, waited

NORTH = [[[-87.895, 41.605], [-87.86, 41.605], [-87.86, 41.63], [-87.895, 41.63], [-87.895, 41.605]]]
STREET = [[-87.9, 41.6], [-87.85, 41.64]]
# A script: of each mark on the map its text, the radius of its dot, and where it stands, in pixels.
MARKS = """
const credit = document.getElementById('credit'), { atlas } = await import(new URL('page/map.js', document.baseURI));
const layer = atlas.getLayers().getArray().find((one) => one.getClassName() === 'cells marks'), marks = [];
for (const feature of layer.getSource().getFeatures()) {
  const style = feature.getStyleFunction()(feature, atlas.getView().getResolution());
  for (const one of [style].flat()) {
    if (!one.getImage()) continue;
    const [x, y] = atlas.getPixelFromCoordinate(feature.getGeometry().getFirstCoordinate()), text = one.getText();
    marks.push([text?.getText() ?? '', one.getImage().getRadius(), x + (text?.getOffsetX() ?? 0), y]);
  }
}
credit.hidden = false; credit.textContent = JSON.stringify(marks);
"""


def chooses(name, value):
    """A script: chooses from a list of the controls."""
    box = f"document.getElementById('choose-{name}')"
    return f"{box}.value = {value!r}; {box}.dispatchEvent(new Event('change'));"


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


def is_followed(base, token=None, streams=1):
    """Whether a page comes to follow the stream of the service there, or opens as many of them."""
    said = f"incident_risk_service_streams {streams}.0".encode()
    return waited(lambda: said in Client(base, token).get("/metrics").data)

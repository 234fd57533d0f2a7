"""Pages as Chromium shows them, what can be done on them by hand and keys, and a live map for it.

Also how far colours stand apart, by WCAG 2, and what a parser of HTML finds.
"""

import fcntl
import json
import os
import shutil
import subprocess
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import pytest

from schemas.areas import read_areas
from tests.harness.service import Client, toy_service, waited

SCRIPT = Path(__file__).with_name("browser.mjs")
PACKAGES = Path(__file__).with_name("chromium")  # of npm: puppeteer, and axe
NODE, NPM = shutil.which("node"), shutil.which("npm")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FETCH_S, LEAST_NODE = 600, 18


def fetched() -> Path:
    """A folder in the user's cache with the packages, fetched anew only when their list has changed.

    They are those of package-lock.json, checked against its hashes; none of their install scripts runs. Raises
    CalledProcessError when npm cannot fetch them.
    """
    files = sorted(PACKAGES.iterdir())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = f"chromium-{sha256(b''.join(path.read_bytes() for path in files)).hexdigest()[:16]}"
    folder = cache / "incident-risk-scorer" / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:  # one worker of the tests fetches, the others wait
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "fetched").exists():
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(PACKAGES, folder)
            command = [NPM, "ci", "--ignore-scripts"]
            subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=FETCH_S)
            (folder / "fetched").touch()
    return folder


@pytest.fixture(scope="session")
def page_program() -> Path:
    """The folder of the packages that look at pages in Chromium."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: apt-get install chromium")
    if NODE is None or NPM is None:
        pytest.skip("no node on this machine: apt-get install nodejs npm")
    version = subprocess.run([NODE, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").partition(".")[0]) < LEAST_NODE:
        pytest.skip(f"node is {version}, must be {LEAST_NODE} or newer")
    try:
        return fetched()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"the packages of tests/harness/chromium could not be fetched: {error.stderr.decode()[-300:]}")


@pytest.fixture(scope="session")
def browser(page_program, tmp_path_factory):
    """browser(*jobs): what the one Chromium of the run shows of each page."""
    order = json.dumps({"folder": str(page_program), "chromium": CHROMIUM})
    log = tmp_path_factory.mktemp("browser") / "stderr"
    with log.open("wb") as errors:
        node = subprocess.Popen([NODE, SCRIPT, order], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)

    def look(*jobs):
        node.stdin.write(json.dumps(jobs).encode() + b"\n")
        node.stdin.flush()
        answer = node.stdout.readline()
        assert answer, log.read_text(encoding="utf-8")[-2000:]
        pages = json.loads(answer)
        for page in pages:
            assert (page["errors"], page["beyond"]) == ([], []), page
        return pages

    yield look
    node.communicate(timeout=60)  # it ends with its input, and closes Chromium


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
    figure = f"incident_risk_service_streams {streams}.0".encode()
    return waited(lambda: figure in Client(base, token).get("/metrics").data)


def parts_of(colour):
    """Red, green and blue of "#RRGGBB", 0 to 255."""
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def light(parts):
    """The relative luminance of an sRGB colour of these parts."""
    shares = (part / 255 for part in parts)
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(*colours):
    """The ratio of the luminances of two colours, each given by its parts: 1 to 21."""
    lights = [light(parts) for parts in colours]
    return (max(lights) + 0.05) / (min(lights) + 0.05)


def seen_on(ground, colour):
    """The parts of "#RRGGBBAA" over a ground given by its parts."""
    opacity = int(colour[7:9] or "ff", 16) / 255
    return [opacity * part + (1 - opacity) * below for part, below in zip(parts_of(colour), ground, strict=True)]


class Elements(HTMLParser):
    """found: every element with its attributes. cells: the text of each cell of a table."""

    def __init__(self, page):
        super().__init__()
        self.found, self.cells, self._cell = [], [], None
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag in ("td", "th"):
            self._cell = ""

    def handle_data(self, data):
        if self._cell is not None:
            self._cell += data

    def handle_endtag(self, tag):
        if tag in ("td", "th") and self._cell is not None:
            self.cells.append(self._cell.strip())
            self._cell = None

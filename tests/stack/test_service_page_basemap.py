"""A base map below the cells of the live map, in a real browser."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

from service.basemap import basemap_of
from streaming.rehearse.broker import free_port
from tests.harness.browser import the_service
from tests.harness.service import leave_frame, running
from tests.harness.tiles import leave_tiles, leave_vector_tiles, png

GREEN = [40, 160, 60]
# What is drawn in a corner of the map, below everything; null for nothing.
BELOW = """
await new Promise((done) => setTimeout(done, 1000));
const canvas = document.querySelector('.basemap canvas');
try { return canvas ? [...canvas.getContext('2d').getImageData(5, canvas.height / 2, 1, 1).data].slice(0, 3) : null; }
catch (error) { return error.name; }
"""


GROUND = BELOW.replace(".basemap", ".ground")
DRAWN = """
const canvas = document.querySelector(".cells canvas");
const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
return data.some((value) => value > 0);
"""


class Tiles(BaseHTTPRequestHandler):
    asked: ClassVar[list] = []

    def do_GET(self):
        self.asked.append(self.path)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(png(GREEN))

    def log_message(self, *_):
        pass


def test_a_file_of_tiles_lies_below_the_cells_and_stays_when_they_are_stale(browser, page_folder):
    leave_frame(page_folder, "riverton")
    leave_frame(page_folder, "staleton", age_s=900)
    basemap = basemap_of(str(leave_tiles(page_folder / "town.pmtiles", GREEN)))
    with running(the_service(page_folder, basemap=basemap)) as base:
        live, stale = browser(*({"url": f"{base}/#region={name}", "does": BELOW} for name in ("riverton", "staleton")))
    assert (live["state"], stale["state"]) == ("live", "stale")
    assert (live["told"], stale["told"]) == (GREEN, GREEN)
    assert live["credit"] == "Streets: City of Riverton · City & County"


def test_water_and_roads_of_vector_tiles_are_drawn_in_the_colours_of_the_theme(browser, page_folder):
    grid = leave_frame(page_folder)[0].spec.grid
    lat, lon = (float(degrees[0]) for degrees in grid.centres())
    basemap = basemap_of(str(leave_vector_tiles(page_folder / "town.pmtiles", lat, lon)))
    with running(the_service(page_folder, basemap=basemap)) as base:
        light, dark = browser(*({"url": f"{base}/", "does": GROUND, "theme": theme} for theme in ("light", "dark")))
    assert basemap.kind == "vector"
    assert light["told"] == [0xC9, 0xDD, 0xEC]
    assert dark["told"] == [0x15, 0x28, 0x3A]


def test_tiles_of_an_address_and_of_a_wms_are_asked_for_there_alone(browser, page_folder):
    leave_frame(page_folder)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Tiles)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    there = f"http://127.0.0.1:{server.server_port}"
    for given, has in ((f"{there}/{{z}}/{{x}}/{{y}}.png", ".png"), (f"{there}/wms?layers=roads", "LAYERS=roads")):
        Tiles.asked.clear()
        with running(the_service(page_folder, basemap=basemap_of(given, "County"))) as base:
            (page,) = browser({"url": f"{base}/", "does": BELOW, "also": [there]})
        assert page["told"] == "SecurityError", "pictures of another server are drawn, and nobody can read them"
        assert Tiles.asked
        assert all(has in path for path in Tiles.asked)
    server.shutdown()
    server.server_close()


def test_a_tile_server_that_is_away_delays_and_hides_nothing(browser, page_folder):
    leave_frame(page_folder)
    there = f"http://127.0.0.1:{free_port()}"
    with running(the_service(page_folder, basemap=basemap_of(f"{there}/{{z}}/{{x}}/{{y}}.png", "County"))) as base:
        (page,) = browser({"url": f"{base}/#measure=risk", "also": [there], "axe": True, "does": DRAWN})
    assert (page["state"], page["axe"], page["told"]) == ("live", [], True)
    assert page["top"]

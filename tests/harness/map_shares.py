"""How much of the screen the live map takes, and what the page weighs: `python -m tests.harness.map_shares`.

The region is half of its grid, as counties are: the cells within a diamond have incidents on record.
"""

import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from schemas.frame import write_frames
from tests.harness.browser import CHROMIUM, NODE, SCRIPT, fetched
from tests.harness.service import leave_frame, running, toy_service
from tests.harness.toy import toy_grid

VIEWPORTS = ((1280, 720), (1920, 1080), (3840, 2160), (390, 844))
REGIONS = ("montgomery", "bucks", "chester", "delaware", "lehigh", "berks")
SIDE = 48
# Shares of the map and of its cells on record, kilobytes as they are sent, and seconds to the first picture.
MEASURED = """
const [{ atlas, boxOf }, { picture }] =
  await Promise.all(['map', 'view'].map((name) => import(new URL(`page/${name}.js`, document.baseURI))));
const screen = innerWidth * innerHeight, [width, height] = atlas.getSize();
const sent = ['navigation', 'resource'].flatMap((kind) => performance.getEntriesByType(kind));
return {
  map: (width * height) / screen, cells: (picture.active.size * boxOf(0).width ** 2) / screen,
  kB: sent.reduce((sum, { transferSize }) => sum + transferSize, 0) / 1000, seconds: firstPicture,
  top: document.getElementById('map').getBoundingClientRect().bottom <= innerHeight,
};
"""


def leave_regions(folder: Path, names=REGIONS) -> None:
    """Frames of regions of 48 x 48 cells, of which half have incidents on record."""
    rows, cols = np.divmod(np.arange(SIDE * SIDE), SIDE)
    is_there = np.abs(rows - SIDE / 2 + 0.5) + np.abs(cols - SIDE / 2 + 0.5) <= SIDE / 2
    for name in names:
        views = leave_frame(folder, name, grid=toy_grid(SIDE, SIDE, south_deg=40.0, west_deg=-75.7))
        shown = [
            replace(
                view,
                support=np.where(is_there[:, None], np.maximum(view.support, 1), 0).astype(np.uint8),
                observed_1h=view.observed_1h * is_there[:, None],
            )
            for view in views
        ]
        write_frames(folder, tuple(shown), "wall")


def jobs(base: str):
    return [
        {"url": f"{base}/#region=montgomery", "width": width, "height": height, "does": MEASURED}
        for width, height in VIEWPORTS
    ]


def main() -> None:
    order = json.dumps({"folder": str(fetched()), "chromium": CHROMIUM})
    for names in (REGIONS[:1], REGIONS):
        with tempfile.TemporaryDirectory() as folder:
            leave_regions(Path(folder), names)
            with running(toy_service(Path(folder))) as base:
                asked = json.dumps(jobs(base)) + "\n"
                ran = subprocess.run([NODE, SCRIPT, order], input=asked, capture_output=True, text=True, check=True)
        for (width, height), page in zip(VIEWPORTS, json.loads(ran.stdout), strict=True):
            measured = page["told"]
            shares = f"map {measured['map']:.1%}, cells on record {measured['cells']:.1%}"
            first = f"{measured['kB']:.0f} kB, first picture after {measured['seconds']:.2f} s"
            sys.stdout.write(f"{len(names)} region(s), {width} x {height}: {shares}; {first}\n")


if __name__ == "__main__":
    main()

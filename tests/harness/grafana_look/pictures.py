"""`make pictures`: the pages on real incidents, as PNG in docs/dashboards."""

import tempfile
from pathlib import Path

from PIL import Image

from benchmarks.local_store import local_store
from streaming.maps.pages import opened_at
from tests.harness.chicago_world import hours, minutes, open_world
from tests.harness.grafana_look.look import Job, build, look
from tests.harness.grafana_look.server import map_files, serve
from tests.harness.influxql import Store
from tests.harness.pages import PAGES, ROOT

PICTURES = ROOT / "docs" / "dashboards"
THEMES = {"live-map": "dark", "cell": "dark", "trends": "light", "does-it-help": "light", "pipeline": "dark"}
WIDTH_PX, CATEGORY = 1600, "theft"


def fill(store: Store) -> int:
    """Put five weeks of Chicago into the store; gives the moment they end, in milliseconds."""
    world = open_world()
    long = store.another("risk_long")
    for lines in hours(world):
        store.write(lines)
        long.write(lines)
    for lines in minutes(world):
        store.write(lines)
    return world.now_s * 1000


def cell_over_time(store: Store) -> str:
    """The cell whose scores of hours are stored."""
    minutes_of = store.series(f'SELECT count("risk") FROM "risk" WHERE "category" = \'{CATEGORY}\' GROUP BY "cell"')  # noqa: S608
    most = max(minutes_of, key=lambda one: int(one["values"][0][1]))
    return str(most["tags"]["cell"])


def draw(store: Store, now_ms: int) -> None:
    spec = open_world().artifact.spec
    pages = {name: opened_at(PAGES[name], spec.grid) for name in THEMES}
    query = f"var-category={CATEGORY}&var-cell={cell_over_time(store)}"
    jobs = [
        Job(
            uid=page["uid"],
            theme=THEMES[name],
            width=WIDTH_PX,
            query=query if name == "cell" else "",
            png=str(PICTURES / f"{name}.png"),
        )
        for name, page in pages.items()
    ]
    program = build()
    files = map_files([spec])
    with serve(store, built=program / "dist", pages=list(pages.values()), files=files, now_ms=now_ms) as base:
        look(program, base, jobs, now_ms=now_ms, zone=spec.timezone)
    for job in jobs:
        with Image.open(str(job.png)) as picture:
            small = picture.convert("RGB").quantize(method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
            small.save(str(job.png), optimize=True)  # other methods make two lines of a legend alike


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, local_store("influxdb", Path(folder)) as url:
        store = Store(url=url)
        draw(store, fill(store))

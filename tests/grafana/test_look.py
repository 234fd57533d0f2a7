"""Every page looked at in a browser: is all of it in sight, and readable? Both themes on three screens are `long`.

By the DOM of Grafana's own components in headless Chromium, not by comparing pictures. What that does not prove:
Grafana's map and state timeline, its frame, provisioning, alerting and login, which are not here, and the numbers along
axes, which are painted on a canvas. Rows of a table may lie further down, out of sight.
"""

from dataclasses import replace
from functools import cache
from itertools import product

import pytest

from generator.build import lines, page, stat, table, text
from generator.looks import ORANGE, column
from streaming.maps.pages import opened_at
from tests.harness.grafana_look.look import Job, look
from tests.harness.grafana_look.server import map_files, serve
from tests.harness.grafana_world import SPECS, VARIABLES
from tests.harness.pages import PAGES

FIRST, *OTHERS = SCREENS = list(product(("dark", "light"), (1280, 1600, 2560)))
BY_SCREENS = pytest.mark.parametrize(
    "screens", [pytest.param([FIRST], id="dark-1280"), pytest.param(OTHERS, id="others", marks=pytest.mark.nightly)]
)
BY_THEME = pytest.mark.parametrize("theme", ["dark", pytest.param("light", marks=pytest.mark.nightly)])
SHOWN = SPECS[VARIABLES["region"]]


@pytest.fixture(scope="module")
def looked_at(page_program, filled, now_s):
    """Findings of pages on screens of a theme and a width, by job."""

    def of(pages, screens):
        files = map_files(list(SPECS.values()))
        query = f"var-region={SHOWN.region}&var-cell={VARIABLES['cell']}&var-category={VARIABLES['category']}"
        jobs = [
            Job(uid=each["uid"], theme=theme, width=width, query=query)
            for each, (theme, width) in product(pages, screens)
        ]
        with serve(filled, built=page_program / "dist", pages=pages, files=files, now_ms=now_s * 1000) as base:
            return dict(zip(jobs, look(page_program, base, jobs, now_ms=now_s * 1000), strict=True))

    return of


@BY_SCREENS
def test_all_of_every_page_is_in_sight_and_readable(looked_at, screens):
    pages = [opened_at(each, SHOWN.grid) for each in PAGES.values()]
    wrong = [
        f"{job.uid}, {job.theme}, {job.width}: {finding.panel}: {finding.what}: {finding.text}"
        for job, findings in looked_at(pages, screens).items()
        for finding in findings
    ]
    assert wrong == []


COUNTS = (
    'SELECT "counted" AS "a", "corrected" AS "b", "rejected" AS "c" FROM "pipeline" '
    "WHERE time > now() - 3m AND \"region\" = 'northville' LIMIT 1"
)
NOTHING = COUNTS.replace("northville", "nowhere")
SHOWN_AS = {"unit": "none", "without": "STALE"}
GRADIENT = stat("gradient", "x", (6, 4), COUNTS, colour=ORANGE, **SHOWN_AS)
LONG = "A title that is far too long for a panel of three columns"
BROKEN = [
    (
        table("cut header", "x", (3, 4), COUNTS, [column("a", displayName="Seen over expected, in all districts")]),
        "cut",
    ),
    (
        table("wide", "x", (3, 4), COUNTS, [column(name, custom__width=150) for name in "abc"]),
        "columns out of sight",
    ),
    (table("empty table", "x", (3, 4), NOTHING, []), "no data"),
    (stat("empty", "x", (3, 4), NOTHING, background=False, **SHOWN_AS), "no data"),
    (lines("empty lines", "x", (3, 4), NOTHING, "none"), "no data"),
    (stat("pale", "x", (3, 4), COUNTS, colour=ORANGE, **SHOWN_AS), "contrast 2."),
    (stat(LONG, "x", (3, 4), COUNTS, background=False, **SHOWN_AS), "shortened"),
    (stat("wrong", "x", (3, 4), "SELECT nothing", background=False, **SHOWN_AS), "error"),
    (text("words", "Many words, and no room for them. " * 30, (6, 4)), "cut above or below"),
    (
        replace(GRADIENT, body=GRADIENT.body | {"options": GRADIENT.body["options"] | {"colorMode": "background"}}),
        "gradient behind text",
    ),
]


@pytest.fixture(scope="module")
def refused(looked_at):
    """Gives what is found in each theme."""
    broken = page("risk-broken", "Broken", "Each panel has one fault.", [panel for panel, _ in BROKEN], [])
    return cache(lambda theme: next(iter(looked_at([broken], [(theme, 1280)]).values())))


@BY_THEME
@pytest.mark.parametrize(("panel", "what"), [pytest.param(*one, id=one[0].body["title"]) for one in BROKEN])
def test_each_fault_of_a_page_is_found(refused, panel, what, theme):
    findings = refused(theme)
    assert any(finding.what.startswith(what) for finding in findings if finding.panel == panel.body["title"]), findings

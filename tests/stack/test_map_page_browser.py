"""The live map page in a real browser: does it say how old it is?"""

import re
import shutil
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from schemas.frame import RiskFrame
from streaming.watch.map_page import MapView, render, write_page
from tests.harness.toy import toy_frame, toy_grid, toy_spec

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(BROWSER is None, reason="no chromium on this machine: the page's script cannot run"),
]
QUIET = "--disable-gpu --disable-background-networking --disable-component-update --disable-sync --no-first-run"


def a_frame(as_of_s: int, model: str = "r3") -> RiskFrame:
    spec = toy_spec(
        grid=toy_grid(3, 4, south_deg=41.6, west_deg=-87.9),
        region="chicago",
        timezone="America/Chicago",
        categories=("theft", "battery"),
    )
    expected = np.full((12, 2, 3), 0.1, np.float32)
    expected[7] = 0.5
    support = np.full((12, 2), 2, np.uint8)
    support[0] = 0
    return toy_frame(spec, expected, as_of_s=as_of_s, model=model, support=support)


@pytest.fixture
def dom(tmp_path):
    def load(*, written_ago_s=0, as_of_ago_s=None, model="r3", address="", **kind) -> str:
        now = int(time.time())
        as_of_s = now - (written_ago_s if as_of_ago_s is None else as_of_ago_s)
        view = MapView(
            title="Incident risk",
            frames=(a_frame(as_of_s, model),),
            written_at_s=now - written_ago_s,
            refresh_s=20,
            ledger={"chicago": {"counted": 1234}},
            last_event_s={"chicago": as_of_s - 5},
            **{"clock": "wall", **kind},
        )
        path: Path = tmp_path / "map.html"
        write_page(path, render(view))
        command = [BROWSER, "--headless", "--no-sandbox", *QUIET.split(), f"--user-data-dir={tmp_path / 'profile'}"]
        command += ["--virtual-time-budget=1500", "--dump-dom", path.as_uri() + address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout.partition('<script type="application/json"')[0]  # the script names every state

    return load


def state(page: str) -> str:
    return re.search(r'<body data-state="(\w+)"', page)[1]


def test_a_fresh_page_is_live_and_shows_its_numbers(dom):
    page = dom()
    assert state(page) == "live"
    assert "STALE" not in page
    assert re.search(r'id="banner"[^>]*hidden', page)
    assert "1,234" in page
    assert "Highest cell r001c003" in page
    assert "63 %" in page  # 1 - exp(-1): two categories at 0.5 each
    assert "×2.00 of usual" in page


@pytest.mark.fault("F21")
def test_a_page_nobody_rewrites_says_stale(dom):
    page = dom(written_ago_s=840)
    assert state(page) == "stale"
    assert re.search(r"STALE – last score \d\d:\d\d:\d\d, 14 min ago</p>", page)
    assert re.search(r'aria-label="STALE – last score', page)
    assert "<title>STALE · " in page


@pytest.mark.parametrize(
    ("view", "shown", "said"),
    [
        ({"as_of_ago_s": 840}, "stale", "STALE"),  # a rewritten page with an old frame
        ({"written_ago_s": 150}, "live", ""),  # three missed ticks are still allowed
        ({"written_ago_s": -300}, "doubt", "AGE UNKNOWN"),  # the screen's clock is behind
        ({"as_of_ago_s": -3600}, "doubt", "AGE UNKNOWN – the scores are for a time 60 min ahead of the scorer's clock"),
        ({"as_of_ago_s": -30}, "live", ""),  # of the tick that runs
        ({"as_of_ago_s": 10**8, "clock": "event"}, "replay", "REPLAY: the clock is the incidents' own"),
        (
            {"written_ago_s": 10**6, "clock": "event", "finished": True},
            "ended",
            "Replay ended – this picture is not live",
        ),
        ({"finished": True}, "stale", "STALE"),  # a live job that has ended
    ],
)
def test_a_page_says_how_far_it_can_be_trusted(dom, view, shown, said):
    page = dom(**view)
    assert state(page) == shown
    assert said in page


def test_the_baseline_is_announced_with_its_reason(dom):
    page = dom(model="baseline:weights are damaged")
    assert re.search(r'id="fallback">Baseline only: .*\(weights are damaged\)', page)


def test_the_address_keeps_the_choice_and_the_pinned_cell(dom):
    page = dom(address="#measure=expected&category=battery&horizon=4h&cell=r002c001")
    assert "Expected count: battery, next 4 h" in page
    assert "Cell r002c001" in page


def test_a_cell_without_history_has_no_score(dom):
    page = dom(address="#cell=r000c000")
    assert "No incident on record here, so there is no score." in page


def test_what_is_done_by_keys_outlives_the_next_page(browser, tmp_path):
    now = int(time.time())
    path = tmp_path / "map.html"
    write_page(path, render(MapView(title="T", clock="wall", refresh_s=2, frames=(a_frame(now),), written_at_s=now)))
    keys = "const map = document.getElementById('map'); map.focus(); for (const key of ['Home', 'ArrowDown', 'Enter', "
    keys += "'ArrowLeft']) map.dispatchEvent(new KeyboardEvent('keydown', { key }));"
    keys += "await new Promise((done) => setTimeout(done, 4000));"  # the page loads itself again meanwhile
    first, later = browser({"url": path.as_uri()}, {"url": path.as_uri(), "does": keys, "width": 390, "height": 844})
    assert first["cell"].startswith("Highest cell r001c003")
    assert {"cell=r000c003", "cursor=r000c002", "focus=map"} <= set(later["hash"].lstrip("#").split("&"))
    assert later["tip"].startswith("r000c002")
    assert later["state"] == "live"

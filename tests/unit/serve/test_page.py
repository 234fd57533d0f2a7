"""The page's colours can be read (WCAG AA), in both themes; it asks nobody but the service; its parts are guarded."""

import re
import shutil
import subprocess
from itertools import product
from pathlib import Path

import pytest

from streaming.serve import page
from tests.harness.service import Client, leave_frame, running, toy_service

FOLDER = Path(page.__file__).with_name("page")
CSS = (FOLDER / "page.css").read_text(encoding="utf-8")
THEMES = [
    dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})\b", block))
    for block in re.findall(r":root \{(.*?)\n *\}", CSS, re.DOTALL)
]
TEXTS = [
    *product(("text", "quiet"), ("ground", "card", "sea")),
    ("card", "accent"),
    ("warn-text", "warn"),
    ("note-text", "note"),
]
LINES = [("area", "sea"), ("street", "sea"), ("mark", "halo"), ("accent", "ground"), ("accent", "card")]


def light(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    brighter, darker = sorted((light(one), light(other)), reverse=True)
    return (brighter + 0.05) / (darker + 0.05)


def test_the_formula_gives_the_figures_of_the_standard():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("ink", "ground", "least"), [(*pair, 4.5) for pair in TEXTS] + [(*pair, 3) for pair in LINES])
def test_every_text_and_line_stands_out(theme, ink, ground, least):
    assert len(THEMES) == 2
    assert contrast(THEMES[theme][ink], THEMES[theme][ground]) >= least


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_the_scale_is_told_by_lightness_alone_so_that_no_eye_needs_its_hues(theme):
    ramp = re.findall(r"--ramp: ([^;]+);", CSS)[theme].split()
    lights = [light(colour) for colour in ramp]
    assert lights == sorted(lights, reverse=theme == 0)
    assert contrast(ramp[0], ramp[-1]) > 7


def test_the_page_names_no_other_server():
    for path in FOLDER.iterdir():
        assert not re.search(r"https?://|//[a-z]+\.", path.read_text(encoding="utf-8")), path.name


def test_the_pages_let_only_their_own_scripts_run(tmp_path):
    leave_frame(tmp_path)
    with running(toy_service(tmp_path)) as base:
        client = Client(base)
        for path in ("/", "/login", "/page/main.js"):
            answer = client.get(path)
            assert answer.status == 200
            policy = answer.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'none'")
            assert "unsafe" not in policy
        for path in ("/page/index.html", "/page/..%2Fapp.py", "/page/%2e%2e/app.py", "/page/nothing.js"):
            assert client.get(path).status == 404
        assert client.ask("/login", method="POST", body=b"\xff" * 100).status == 303


NODE = shutil.which("node")
JUDGE = """
import { judge } from '%s';
const facts = (age, more = {}) => ({ as_of: new Date((1000000 - age) * 1000).toISOString(), timezone: 'UTC',
  clock: 'wall', stale_after_s: 180, tick_s: 60, stale: false, ...more });
const states = [[10, 0], [181, 0], [10, 31], [-61, 0], [10000, 0, { clock: 'event', stale: true }], [-30, 14]];
console.log(states.map(([age, silent, more]) => judge(facts(age, more), 1000000, 1000000 - silent)[0]).join(' '));
"""


@pytest.mark.skipif(NODE is None, reason="no node on this machine: apt-get install nodejs npm")
def test_how_far_the_picture_can_be_trusted_is_judged_also_without_the_service(tmp_path):
    for name in ("current.js", "words.js"):
        shutil.copy(FOLDER / name, tmp_path / name)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "try.mjs").write_text(JUDGE % (tmp_path / "current.js").as_uri())
    ran = subprocess.run([NODE, tmp_path / "try.mjs"], capture_output=True, text=True, timeout=60, check=False)
    assert ran.stdout.split() == ["live", "stale", "cut", "doubt", "replay", "live"], ran.stderr

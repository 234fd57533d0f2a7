"""The page's colours can be read (WCAG AA), in both themes; it names no server; it judges its age."""

import json
import re
import shutil
from hashlib import sha256
from itertools import pairwise, product
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from models.follower import FollowedFactors, followed_change
from models.readiness import ASSUMES
from schemas.frame import ATTRIBUTION_GROUPS
from schemas.languages import sentences_of
from schemas.records import Withheld
from schemas.spec import DAY_S
from service.page import FOLDER, LIBRARY, catalogue, part
from service.service import expired
from tests.harness.browser import Elements, contrast, parts_of, seen_on
from tests.harness.processes import run
from tests.harness.service import leave_frame
from tests.unit.service.conftest import POSTS, served

CSS = part("page.css")
BLOCKS = re.findall(r":root \{(\n.*?)\n *\}", CSS, re.DOTALL)
THEMES = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})\b", block)) for block in BLOCKS if "--ground: #" in block]
TEXTS = [
    *product(("text", "quiet"), ("ground", "card", "sea")),
    ("card", "accent"),
    ("warn-text", "warn"),
    ("note-text", "note"),
    ("past-text", "past"),
]
LINES = [("area", "sea"), ("street", "sea"), ("mark", "halo"), ("accent", "ground"), ("accent", "card")]
LINES += [("alarm", "halo"), ("alarm", "calm")]


def test_every_id_of_the_page_stands_once():
    """A script that asks for one of two would be answered with the first."""
    ids = [attributes["id"] for _, attributes in Elements(part("page.html")).found if "id" in attributes]
    assert sorted(ids) == sorted(set(ids))


def test_the_formula_gives_the_figures_of_the_standard():
    assert contrast([0] * 3, [255] * 3) == pytest.approx(21)
    assert contrast([0x77] * 3, [255] * 3) == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("ink", "ground", "least"), [(*pair, 4.5) for pair in TEXTS] + [(*pair, 3) for pair in LINES])
def test_every_text_and_line_stands_out(theme, ink, ground, least):
    assert len(THEMES) == 2
    assert contrast(*(parts_of(THEMES[theme][name]) for name in (ink, ground))) >= least


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(("scale", "least_step"), [("ramp", 1.05), ("lift", 1.02)])
def test_on_either_ground_a_higher_class_stands_out_more_also_in_grey(theme, scale, least_step):
    """By lightness alone, so no eye needs the hues. One palette: the dark theme has none of its own."""
    (colours,) = re.findall(rf"--{scale}: ([^;]+);", CSS)
    ground = parts_of(THEMES[theme]["sea"])
    stands_out = [contrast(seen_on(ground, colour), ground) for colour in colours.split()]
    assert all(higher > least_step * lower for lower, higher in pairwise(stands_out)), stands_out
    assert stands_out[0] > 1.2
    assert stands_out[-1] > 3


NODE = shutil.which("node")
HERE = Path(__file__).parent
ASKED, ROOT = HERE / "asked.mjs", Path(__file__).parents[3]
needs_node = pytest.mark.skipif(NODE is None, reason="no node on this machine: apt-get install nodejs npm")


def told_by_node(tmp_path, script, *parts):
    """What a script prints, as JSON; it lies beside these parts of the page."""
    for name in parts:
        shutil.copy(FOLDER / name, tmp_path / name)
    (tmp_path / "package.json").write_text('{"type": "module"}')
    (tmp_path / "try.js").write_text(script)
    ran = run(NODE, "try.js", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@needs_node
def test_the_parts_that_need_no_page_do_what_their_own_tests_say():
    tests = sorted(HERE.glob("*.test.mjs"))
    assert len(tests) == 2
    ran = run(NODE, "--test", *map(str, tests))
    assert ran.returncode == 0, ran.stdout


def test_the_kept_library_is_the_one_of_the_lock_file_with_its_licences():
    """`make live-map` writes the hashes of what it makes and of what it is made of; `make lint` makes it again."""
    lines = (FOLDER / "openlayers.sha256").read_text(encoding="utf-8").splitlines()
    hashes = {name: sha256 for sha256, name in (line.split("  ") for line in lines)}
    assert hashes == {name: sha256((ROOT / name).read_bytes()).hexdigest() for name in hashes}
    packages = json.loads((ROOT / "deploy/live_map/package-lock.json").read_text(encoding="utf-8"))["packages"]
    licences = (FOLDER / "openlayers.LICENSE.txt").read_text(encoding="utf-8")
    for name, version, licence in re.findall(r"^== (\S+) (\S+): (\S+) ==$", licences, re.MULTILINE):
        locked = packages[f"node_modules/{name}"]
        assert (locked["version"], locked["license"]) == (version, licence)
        assert locked["integrity"].startswith("sha512-")
    assert "== ol " in licences


def test_the_page_names_no_other_server():
    names = [path.name for path in FOLDER.iterdir() if path.suffix in (".css", ".html", ".js")]
    assert len(names) > 15
    for name in set(names) - {LIBRARY}:  # in a browser, nothing that a page asks for goes elsewhere
        assert not re.search(r"https?://|//[a-z]+\.", part(name)), name


NOW_S = 1_000_000
GERMAN = """
globalThis.document = { documentElement: { lang: 'de' }, getElementById: () => ({ textContent: JSON.stringify(%s) }) };
const { say, sayMany, told } = await import('./language.js');
const { HMS, count, percent, seldom, span, stamp, times } = await import('./words.js');
console.log(JSON.stringify({ told: %s.map(told), words: [span(90000 * 2), sayMany('{count} day', '{count} days', 1),
  seldom(800), count(1.4), count(0.0001), percent(0.015), times(12.3), stamp(0, 'UTC', HMS), say('no entry')] }));
"""


def change_of(factors):
    """As the job tells it, where they have lasted for ten days."""
    shown = FollowedFactors(np.array(factors, float), np.ones(len(factors)))
    return followed_change(lambda at_s: shown if at_s else None, 10 * DAY_S)[1]


@needs_node
def test_what_service_and_job_tell_and_all_numbers_are_in_the_language_of_the_page(tmp_path):
    """The texts are theirs, so that a changed sentence is not left in English unseen."""
    in_runs = [1, 1, 2, 2, 2, 1, 2, 1, 2, 1, 2, *[1] * 13, 1.5]  # of the hours of a day, then of cells
    texts = [part for factors in (in_runs, [2] * 26) for part in change_of(factors).split(", ")]
    texts += [Withheld(since_s=0, because="Beschluss").in_words(), *ATTRIBUTION_GROUPS.values(), ASSUMES]
    texts.append(expired(SimpleNamespace(model="20240101T000000Z-0a1b2c3d", as_of_s=NOW_S + 2_000_000_000)))
    spec = {"categories": ("ems", "theft"), "answered_by": ("ems",)}
    leave_frame(tmp_path, model="baseline:damaged", age_s=900, **spec)
    with served(tmp_path) as client:
        asked = {"units": [{"lat": 41.61, "lon": -87.89}], "reach_minutes": 3}
        texts += client.post(POSTS, asked).json()["warnings"]
    data = catalogue(sentences_of("de")).split(">", 1)[1].removesuffix("</script>")
    said = told_by_node(tmp_path, GERMAN % (data, json.dumps(texts)), "grid.js", "language.js", "words.js")
    assert [text for text, german in zip(texts, said["told"], strict=True) if text == german] == []
    assert said["told"][:3] == ["02 bis 05 Uhr x 2,0", "06 bis 07 Uhr x 2,0", "08 bis 09 Uhr x 2,0"]
    assert said["words"] == ["2 Tage", "1 Tag", "2 Jahre", "1,40", "<0,001", "1,5 %", "×12", "00:00:00", "no entry"]


@needs_node
def test_what_was_answered_is_not_asked_again_after_a_refusal_and_news_waits_for_its_turn(tmp_path):
    parts = ["current", "follow", "from_service", "grid", "language", "reach", "search", "words"]
    told = told_by_node(tmp_path, ASKED.read_text(), *(f"{part}.js" for part in parts))
    first = {"regions": 1, "land": 1, "streets": 2, "scores": 1, "unusual": 1, "decisions": 1, "cells": 3, "hours": 1}
    assert told["first"] == first
    assert told["shown"] == ["a", "b", "c"]
    assert told["asked"] == first | {"scores": 3, "unusual": 3, "decisions": 3, "cells": 5}


def test_both_pages_are_in_the_language_of_the_service_and_their_catalogue_is_data(tmp_path):
    leave_frame(tmp_path)
    with served(tmp_path, language="de") as client:
        answers = [client.get(path) for path in ("/", "/login")]
    pages = [answer.data.decode() for answer in answers]
    assert all('<html lang="de">' in page for page in pages)
    assert "<h1>Vorfallrisiko</h1>" in pages[1]
    (data,) = re.findall('<script type="application/json" id="catalogue">(.*)</script>', pages[0])
    assert json.loads(data)["STALE"] == "VERALTET"
    assert "script-src 'self';" in answers[0].headers["Content-Security-Policy"]  # which lets no script in a page run


def test_the_pages_let_only_their_own_scripts_run(client):
    for path in ("/", "/login", "/page/from_service.js"):
        answer = client.get(path)
        assert answer.status == 200
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
    for path in ("/page/index.html", "/page/..%2Fapp.py", "/page/%2e%2e/app.py", "/page/nothing.js"):
        assert client.get(path).status == 404
    assert client.ask("/login", method="POST", body=b"\xff" * 100).status == 303

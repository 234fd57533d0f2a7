"""The live map page: what is embedded is what was scored, and nothing in it can act on its own."""

import base64
import hashlib
import html
import json
import re
from dataclasses import replace
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import DataError, SinkError
from schemas.frame import RiskFrame
from schemas.spec import Spec
from streaming.flow.rows import Summary
from streaming.watch.map_page import LEVEL_FLOOR, LEVEL_STEP, MapView, MapWatch, quantise, render, write_page
from tests.harness.html_elements import Elements
from tests.harness.toy import toy_frame, toy_grid, toy_spec

GRID = toy_grid(6, 5, south_deg=41.6, west_deg=-87.9)
SPEC = toy_spec(grid=GRID, region="chicago", timezone="America/Chicago", categories=("theft", "battery"))


def a_frame(spec: Spec = SPEC, *, quiet_share: float = 0.4) -> RiskFrame:
    rng = np.random.default_rng(7)
    shape = (spec.grid.cells, len(spec.categories), len(spec.horizons_s))
    expected = rng.gamma(0.3, 1.0, shape).astype(np.float32)
    support = rng.integers(0, 3, shape[:2]).astype(np.uint8)
    support[rng.random(shape[0]) < quiet_share] = 0
    return toy_frame(
        spec,
        expected,
        as_of_s=1_500_000_000,
        model="2026-07-r3",
        low=np.floor(expected * 0.3),
        high=np.ceil(expected * 2.5),
        usual=(expected * rng.uniform(0.5, 2, shape)).astype(np.float32),
        observed_1h=rng.poisson(0.1, shape[:2]).astype(np.int32),
        support=support,
    )


def a_view(*frames: RiskFrame, title: str = "Incident risk", finished: bool = False) -> MapView:
    return MapView(
        title=title,
        frames=frames,
        written_at_s=1_500_000_003,
        clock="wall",
        refresh_s=5,
        ledger={"chicago": {"counted": 12, "rejected": 3}},
        last_event_s={"chicago": 1_499_999_990},
        finished=finished,
    )


def embedded(page: str) -> dict:
    return json.loads(re.search(r'<script type="application/json" id="page-data">(.*?)</script>', page, re.DOTALL)[1])


def words(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), "<u2")


def levels(text: str, shape: tuple[int, ...]) -> np.ndarray:
    codes = words(text).astype(float)
    return np.where(codes == 0, 0, LEVEL_FLOOR * np.exp((codes - 1) * LEVEL_STEP)).reshape(shape)


def test_the_embedded_numbers_are_the_frames():
    frame = a_frame()
    region = embedded(render(a_view(frame)))["regions"][0]
    active = words(region["active"])
    shape = (2, 3, len(active))
    cell_last = {name: np.moveaxis(getattr(frame, name)[active], 0, -1) for name in ("low", "high", "observed_1h")}
    for name in ("expected", "risk", "usual"):
        np.testing.assert_allclose(
            levels(region[name], shape), np.moveaxis(getattr(frame, name)[active], 0, -1), rtol=3e-4, atol=LEVEL_FLOOR
        )
    for name, values in cell_last.items():
        listed = [float(number or 0) for number in region[name].split(",")]
        np.testing.assert_array_equal(listed, values.ravel())
    assert region["support"] == "".join(str(frame.support[cell, c]) for c in range(2) for cell in active)
    np.testing.assert_allclose(region["whole_expected"], frame.expected.sum(axis=0), atol=1e-3)


def test_only_cells_with_history_or_a_fresh_incident_are_embedded():
    frame = a_frame()
    active = set(words(embedded(render(a_view(frame)))["regions"][0]["active"]).tolist())
    wanted = {cell for cell in range(GRID.cells) if frame.support[cell].any() or frame.observed_1h[cell].any()}
    assert active == wanted
    assert 0 < len(wanted) < GRID.cells


def test_a_region_without_any_history_still_gives_a_page():
    frame = a_frame()
    empty = replace(frame, support=np.zeros_like(frame.support), observed_1h=np.zeros_like(frame.observed_1h))
    assert embedded(render(a_view(empty)))["regions"][0]["active"] == ""


@given(st.floats(min_value=0, max_value=9e4))
def test_a_quantised_value_is_within_half_a_step(value):
    code = int(quantise(np.array([value]))[0])
    back = LEVEL_FLOOR * np.exp((code - 1) * LEVEL_STEP) if code else 0.0
    assert abs(back - value) <= max(LEVEL_FLOOR, value * LEVEL_STEP * 0.51)


def test_the_header_facts_are_embedded():
    data = embedded(render(a_view(a_frame(), replace(a_frame(), model="baseline:no artifact"), finished=True)))
    assert (data["written_at_s"], data["clock"], data["finished"]) == (1_500_000_003, "wall", True)
    first, second = data["regions"]
    assert (first["as_of_s"], first["last_event_s"], first["tick_s"]) == (1_500_000_000, 1_499_999_990, 60)
    assert first["ledger"] == [["counted", 12], ["rejected", 3]]
    assert (first["baseline_only"], second["baseline_only"]) == (False, True)
    assert first["cell_lat_deg"] == pytest.approx(GRID.corners()[0][1] - GRID.corners()[0][0])


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>{{data}}\u2028&amp;\"'"


def test_hostile_names_add_no_element_and_come_back_unchanged():
    plain = render(a_view(a_frame()))
    spec = msgspec.structs.replace(SPEC)
    msgspec.structs.force_setattr(spec, "region", HOSTILE)
    msgspec.structs.force_setattr(spec, "categories", (HOSTILE, "battery"))
    page = render(a_view(replace(a_frame(), spec=spec, model=HOSTILE), title=HOSTILE))
    region = embedded(page)["regions"][0]
    assert region["region"] == region["categories"][0] == region["model"] == HOSTILE
    assert [tag for tag, _ in Elements(page).found] == [tag for tag, _ in Elements(plain).found]
    for title in ("<title>(.*?)</title>", '<p class="caps" id="title">(.*?)</p>'):
        assert html.unescape(re.search(title, page, re.DOTALL)[1]) == HOSTILE


def test_the_page_asks_the_network_for_nothing():
    page = render(a_view(a_frame()))
    assert not re.search(r"https?:|//[a-z0-9-]+\.|@import|url\(", page.replace("// ---- ", ""))
    found = Elements(page).found
    assert {tag for tag, _ in found}.isdisjoint({"link", "img", "iframe", "object", "embed", "base"})
    names = {name for _, attributes in found for name in attributes}
    assert names.isdisjoint({"src", "href", "style", "action"})
    assert not [name for name in names if name.startswith("on")]


def test_the_policy_lets_in_exactly_its_own_style_and_script():
    page = render(a_view(a_frame()))
    policy = next(a["content"] for tag, a in Elements(page).found if a.get("http-equiv") == "Content-Security-Policy")

    def digest(tag: str) -> str:
        (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    assert policy.split("; ") == [
        "default-src 'none'",
        f"style-src {digest('style')}",
        f"script-src {digest('script')}",
        "base-uri 'none'",
        "form-action 'none'",
    ]


def test_equal_views_give_equal_pages():
    assert render(a_view(a_frame())) == render(a_view(a_frame()))


def test_a_full_grid_stays_below_400_kilobytes():
    grid = msgspec.structs.replace(GRID, rows=48, cols=48)
    frame = a_frame(msgspec.structs.replace(SPEC, grid=grid, categories=("a", "b", "c", "d")), quiet_share=0)
    busy = replace(frame, support=np.full_like(frame.support, 2))
    assert len(render(a_view(busy)).encode()) < 400_000


def test_no_frame_is_refused():
    with pytest.raises(DataError, match="no frame to draw"):
        render(a_view())


def test_a_page_replaces_the_older_one_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "new" / "map.html"
    write_page(path, "first")
    write_page(path, "second – ü")
    assert path.read_text(encoding="utf-8") == "second – ü"
    assert [entry.name for entry in path.parent.iterdir()] == ["map.html"]


def test_a_path_that_cannot_be_written_is_an_error_that_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match=r"map\.html cannot be written \(.+\): choose another path"):
        write_page(tmp_path / "file" / "map.html", "page")


def test_the_page_follows_the_batches_and_ends_as_finished(tmp_path):
    view = MapView(title="Incident risk", clock="wall", refresh_s=5)
    watch = MapWatch(tmp_path / "map.html", view, now_s=lambda: 1_500_000_003.7)
    summary = Summary(as_of_s=0, ledger={}, totals={"consumed": 2, "counted": 2, "rejected_late": 0}, newest_event_s=9)
    for done_s in (1_500_000_003.7, 1_500_000_008.6):  # the second is too early for a new page
        frames = {"chicago": a_frame()} if done_s < 1_500_000_005 else {}
        watch.show(SimpleNamespace(frames=frames, summaries={"chicago": summary, "": summary}, done_s=done_s))
        summary = msgspec.structs.replace(summary, totals={"consumed": 3})
    data = embedded((tmp_path / "map.html").read_text())
    assert (data["written_at_s"], data["finished"]) == (1_500_000_003, False)
    [region] = data["regions"]
    assert region["ledger"] == [["consumed", 2], ["counted", 2], ["refused, of no region", 2]]
    assert region["last_event_s"] == 9
    watch.finish()
    data = embedded((tmp_path / "map.html").read_text())
    assert (data["finished"], data["regions"][0]["ledger"][0]) == (True, ["consumed", 3])

"""The demo's pace and its last page, of the sample's evening replayed without Kafka and Spark."""

from collections import Counter
from io import StringIO
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from models.artifact import champion_of
from models.features import FeatureEngine
from models.training.replay import IncidentHistory
from schemas.areas import PlaceNames
from schemas.errors import PipelineError
from schemas.fine import FineShares
from schemas.frame import Unusual
from streaming.rehearse.demo import day_plan, slow_in_the_storm
from streaming.rehearse.demo_report import (
    Evening,
    ShownFrame,
    first_told,
    hits_in_squares,
    hits_of,
    posts_of_the_night,
    report,
    where,
)
from streaming.rehearse.incident_replay import ARTIFACTS, DEMO_DAY, REGION, parse_when
from tests.harness.recount import scored_frame
from tests.harness.toy import toy_frame, toy_grid, toy_spec

CELLS = 40
PLAN = day_plan()


def at(clock):
    return parse_when(f"{DEMO_DAY}T{clock}", PLAN.table.timezone)


@pytest.fixture(scope="module")
def evening():
    """What frames every quarter of an hour say, from half past four on."""
    artifact = champion_of(ARTIFACTS, REGION)
    calls = IncidentHistory.of(PLAN.table, artifact.spec, at("23:59")).calls
    state, engine = artifact.history(), FeatureEngine(artifact.spec, artifact.constants)
    evening, counted = Evening(plan=PLAN, artifact=artifact), 0
    for at_s in (at("00:00"), *range(at("16:30"), at("21:30"), 900)):
        until = int(np.searchsorted(calls.occurred_s, at_s, side="right"))
        state.apply(calls.select(np.arange(counted, until)), at_s)
        frame, counted = scored_frame(str(artifact.folder), engine.compute(state), at_s), until
        published = SimpleNamespace(points=1, summaries={}, acknowledged_s=0.0, frames={REGION: frame})
        evening.on_batch(published)
    return evening


def test_the_storm_is_slow_and_the_rest_is_fast():
    due_s = slow_in_the_storm(PLAN, 80.0)
    first, last = due_s(int(PLAN.send_ms[0])), due_s(int(PLAN.send_ms[-1]))
    storm_s = due_s(at("21:00") * 1000) - due_s(at("17:30") * 1000)
    assert (first, last) == (0.0, 80.0)
    assert storm_s >= 50
    every = [due_s(send_ms) for send_ms in PLAN.send_ms.tolist()]
    assert every == sorted(every)


def test_the_page_says_in_this_order_what_became_of_the_messages_when_it_was_told_and_how_good_it_was(evening):
    evening.sent_s, evening.acknowledged_s = [0.0, 0.0], [0.5, 0.7]
    console = Console(width=100, record=True, file=StringIO())
    console.print(report(evening, Counter(consumed=2, counted=2), {"incidents": 2}))
    said = console.export_text()
    marks = (
        "What became of every message",
        "unaccounted 0",
        "When the screen first said it, and where",
        "18:30 fire around",
        "Calls in the next hour, forecast and come",
        "Within 8 minutes from ten posts",
        "cells chosen by",
        "chance 29 of 579 5.0%",
        "600 ms (median)",
        "figures of one evening",
    )
    text = " ".join(said.split())
    places = [text.find(mark) for mark in marks]
    assert min(places) >= 0, dict(zip(marks, places, strict=True))
    assert places == sorted(places)


def test_the_storm_is_told_by_its_name_before_a_sixth_of_its_calls_has_come_and_the_forecast_rises(evening):
    frame, place = next(iter(first_told(evening.shown)))
    assert place.category == "fire"
    assert at("18:15") <= frame.as_of_s <= at("18:30")
    assert evening.calls_between(at("18:00"), frame.as_of_s) < 226 / 6
    [storm] = [shown for shown in evening.shown if shown.as_of_s == at("19:00")]
    assert storm.expected > 1.5 * storm.without_nowcast > 1.5 * 22  # the network learned of the last hour, too
    plan, calls = posts_of_the_night(evening)
    assert calls == 226
    assert sum(post.units for post in plan.posts) == 10
    assert 0.6 < plan.kept["within"] < 0.7


def test_without_a_frame_there_is_no_page(evening):
    with pytest.raises(PipelineError, match="no score"):
        report(Evening(plan=PLAN, artifact=evening.artifact), Counter(), {})


def place_of(row=0, col=0, rows=2, cols=2, category="fire", above=()):
    numbers = {"hours": 1, "observed": 9, "usual": 0.5, "days": 22.0}
    return Unusual(category=category, row=row, col=col, rows=rows, cols=cols, above=above, **numbers)


def test_a_kind_is_told_once_and_anew_after_four_hours():
    def shown(hour, *categories):
        return ShownFrame(int(hour * 3600), 1.0, 1.0, tuple(place_of(category=name) for name in categories))

    frames = [shown(1, "fire"), shown(2, "fire", "all"), shown(5, "fire"), shown(10, "fire")]
    told = [(frame.as_of_s // 3600, place.category) for frame, place in first_told(frames)]
    assert told == [(1, "fire"), (2, "all"), (10, "fire")]


def test_places_are_called_by_names_in_them_before_cells():
    grid = toy_grid(20, 20)
    lat, lon = grid.centres()
    near = grid.index_of("r001c001")
    shapes = [
        {
            "properties": {"name": name},
            "geometry": {"type": "Point", "coordinates": [float(lon[cell]), float(lat[cell])]},
        }
        for name, cell in (("Far", 0), ("Near", near), ("Third", 20), ("Fourth", 1), ("Away", 399))
    ]
    names = PlaceNames({"features": shapes}, grid)
    said = where(place_of(above=(near,)), grid, names)
    assert said.startswith("around Near, ")
    assert said.endswith(" and 1 more place (r000c000 to r001c001)")
    assert where(place_of(rows=20, cols=20), grid, names) == "in the whole county"
    assert where(place_of(row=1, col=2, rows=1, cols=1), grid, names) == "around Near (r001c002)"
    assert where(place_of(row=10, col=2, rows=1, cols=1), grid, names) == "at r010c002"
    assert names.nearest([grid.index_of("r001c002"), grid.index_of("r010c002")]) == ["Near", ""]
    assert PlaceNames({"features": []}, grid).nearest([0, 1]) == ["", ""]


def test_incidents_where_none_was_before_are_missed():
    spec, draw = toy_spec(8, 5, categories=("ems", "fire")), np.random.default_rng(0)
    expected = np.zeros((CELLS, 2, 3), np.float32)
    expected[:, 1, -1] = draw.permutation(CELLS)
    support = np.repeat((np.arange(CELLS) < 30).astype(np.uint8)[:, None], 2, axis=1)
    counts = draw.integers(1, 9, CELLS)
    first = sorted(range(30), key=lambda cell: -expected[cell, 1, -1])[:2]
    hits = hits_of(toy_frame(spec, expected, support=support), expected, counts)
    assert hits.cells == 2  # 5 % of 30
    assert hits.hit_rate == counts[first].sum() / counts.sum()
    assert hits.ideal_hit_rate == np.sort(counts[:30])[-2:].sum() / counts.sum()


def test_squares_that_are_put_first_hold_their_calls_and_a_part_of_equal_ones():
    spec = toy_spec(2, 5, categories=("ems", "fire"), answered_by=("ems", "fire"), fine=2)
    expected = np.ones((10, 2, 3), np.float32)
    expected[3, 1] = 50.0
    first = np.array([[0.7, 0.1, 0.1, 0.1]], np.float16)  # of fire in cell 3, most in the south-west
    rows = {"cell": np.array([3], np.int32), "category": np.array([1], np.int16), "share": first}
    frame = toy_frame(spec, expected, support=np.ones((10, 2), np.uint8))
    (lat, lon), half = spec.grid.centres(), np.array(spec.grid.metres_per_degree) ** -1 * 250
    calls = ((3, -1, -1), (3, -1, -1), (3, 1, 1), (7, -1, 1))  # cell, and on which side of its middle
    places = np.array([(lat[cell] + up * half[0], lon[cell] + right * half[1]) for cell, up, right in calls])
    hits = hits_in_squares(frame, FineShares(grid=spec.grid, fine=2, **rows), *places.T)
    # 5 % are 2 of the 40 squares: that in the south-west with 2 calls, and one of three equal ones with 1 call in all.
    assert hits == pytest.approx(2 + 1 / 3)

"""A feed that falls silent, and mixed calls in one cell: through a real Kafka, the job, the service and a browser."""

import json
import signal

import numpy as np
import pytest

from models.counting.count_state import CountState
from schemas.frame import read_frames
from schemas.spec import DAY_S, HOUR_S
from tests.harness.service import Client, running, toy_service
from tests.harness.toy import publish_artifact, toy_constants, toy_network

PER_HOUR, DAYS = 24, 14
CELL = 15  # r002c003
CATEGORIES = ("fire", "ems", "traffic")


def publish(artifacts, region, draw):
    """An artifact that knows a fortnight of ordinary hours, which end six hours before the region's clock."""
    spec, count, begin_s = region.spec, PER_HOUR * 24 * DAYS, (region.start_s // DAY_S - DAYS) * DAY_S
    history = CountState(spec)
    history.advance(region.start_s - 6 * HOUR_S)
    at_s = draw.integers(begin_s, region.start_s - 6 * HOUR_S, count)
    for level in history.levels.values():
        level.add(at_s, draw.integers(0, spec.grid.cells * len(CATEGORIES), count), 1)
    mean_per_day, first_day = np.full(len(CATEGORIES), 24.0 * PER_HOUR / len(CATEGORIES)), np.array(begin_s / DAY_S)
    fitted = {"first_day": first_day, "spread_of_totals": np.full(len(CATEGORIES) + 1, 0.02)}
    constants = toy_constants(spec, mean_per_day=mean_per_day, **fitted)
    publish_artifact(artifacts, spec=spec, constants=constants, network=toy_network(spec), history=history)


@pytest.fixture(scope="module")
def night(new_topic, new_region, new_scorer, browser):
    """What frame, service and page say: of the silent feed, then with two ordinary hours and twelve mixed calls."""
    draw, topic = np.random.default_rng(0), new_topic("planted")
    region, scorer = new_region("planted", categories=CATEGORIES), new_scorer("planted", topic)
    publish(scorer.artifacts, region, draw)
    scorer.start()
    start_s, seen, frame = region.start_s, {}, scorer.folder / "frames" / "planted.frame"

    def send(name, received_s, events):
        topic.send((0, event, received_s * 1000) for event in events)
        scorer.wait_until(lambda: frame.exists() and read_frames(frame).by_category.as_of_s == received_s)
        with running(toy_service(scorer.folder / "frames", clock=lambda: float(received_s))) as base:
            client = Client(base)
            (page,) = browser({"url": f"{base}/", "png": str(scorer.folder / f"{name}.png")})
            seen[name] = {
                "frame": read_frames(frame).by_category,
                "region": client.json("/v1/regions")["regions"][0],
                "unusual": client.json("/v1/regions/planted/unusual"),
                "current": client.get("/v1/regions/planted/scores?require=current"),
                "page": page,
            }

    send("silent", start_s + 60, [region.event(0, cell=0, at_s=start_s - 60)])
    ago = zip(
        draw.integers(0, 36, 2 * PER_HOUR).tolist(), draw.integers(0, 2 * HOUR_S, 2 * PER_HOUR).tolist(), strict=True
    )
    places = [*ago, *((CELL, 120 * number) for number in range(12))]
    events = [region.event(1 + n, cell=cell, at_s=start_s - ago_s) for n, (cell, ago_s) in enumerate(places)]
    send("lively", start_s + 240, events)
    assert scorer.end(signal.SIGTERM) == 0
    return seen


def test_six_hours_without_incidents_are_a_silent_feed_on_every_screen(night):
    seen = night["silent"]
    (feed,) = seen["region"]["silent"]
    assert (feed["category"], feed["observed"]) == ("all", 1)
    assert feed["usual"] == pytest.approx(6 * PER_HOUR, rel=0.15)
    assert seen["current"].status == 503
    assert "a feed of all is silent" in json.loads(seen["current"].data)["detail"]
    assert seen["unusual"]["silent"] == [feed]
    assert seen["page"]["state"] == "silent"
    assert seen["page"]["banner"].startswith("FEED SILENT since ")
    assert seen["page"]["caption"].startswith("Nothing is known since ")
    assert seen["frame"].expected.sum() >= 0.8 * seen["frame"].usual.sum()


def test_twelve_mixed_calls_in_a_cell_are_told_once_the_feed_is_back(night):
    seen = night["lively"]
    (before,) = seen["region"]["silent"]
    assert before["until"] is not None
    assert seen["current"].status == 200
    (place,) = seen["unusual"]["places"]
    assert (place["category"], place["cells"]) == ("all", ["r002c003"])
    assert place["observed"] >= 12
    assert all(place["of_categories"][name] >= 4 for name in CATEGORIES)
    assert "More than usual: all categories at r002c003" in seen["page"]["caption"]

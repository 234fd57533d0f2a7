"""The service as other people's programs use it: a fuzzer that reads its document, GDAL, a browser in a bad night."""

import json
import os
import re
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from models.counting.count_state import CountState
from schemas.frame import read_frames
from schemas.spec import DAY_S, HOUR_S
from service.tokens import Tokens, make_token
from streaming.rehearse.broker import free_port
from tests.harness.processes import run
from tests.harness.service import Client, is_there, leave_frame, running, toy_service
from tests.harness.toy import publish_artifact, toy_constants, toy_network

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """(address, token, the region's views)"""
    folder = tmp_path_factory.mktemp("frames")
    views = leave_frame(folder)
    token = make_token(folder / "tokens.jsonl", "client", [])
    with running(toy_service(folder, tokens=Tokens(folder / "tokens.jsonl"))) as base:
        yield base, token, views


@pytest.mark.nightly
def test_a_fuzzer_finds_no_answer_that_the_document_does_not_promise(service, tmp_path):
    base, token, _ = service
    words = ["--url", base, "--header", f"Authorization: Bearer {token}", "--phases", "examples,coverage,fuzzing"]
    words += ["--seed", "1", "--max-examples", "15", "--generation-database", "none", "--no-color"]
    ran = run(
        Path(sys.executable).with_name("schemathesis"),
        *("--config-file", ROOT / "tests" / "harness" / "schemathesis.toml", "run"),
        *(ROOT / "docs" / "reference" / "openapi.json", *words),
        cwd=tmp_path,
    )
    assert ran.returncode == 0, ran.stdout[-5000:] + ran.stderr[-1000:]
    assert re.search(r"Tested: 13\b", ran.stdout), ran.stdout[-3000:]


needs_gdal = pytest.mark.skipif(shutil.which("ogrinfo") is None, reason="no ogrinfo on this machine (gdal-bin)")


@needs_gdal
def test_gdal_reads_every_cell_with_its_numbers_from_an_address(service):
    """As QGIS does, which opens GeoJSON by GDAL."""
    base, token, (frame, _) = service
    address = f"{base}/v1/regions/riverton/scores?category=theft&horizon=4h&format=geojson"
    header = ("--config", "GDAL_HTTP_HEADERS", f"Authorization: Bearer {token}")
    ran = run("ogr2ogr", *header, "-f", "GeoJSON", "/vsistdout/", address)
    assert ran.returncode == 0, ran.stderr
    features = json.loads(ran.stdout)["features"]
    by_cell = {feature["properties"]["cell"]: feature for feature in features}
    assert sorted(by_cell) == sorted(frame.spec.grid.cell_ids())
    assert len(features) == frame.spec.grid.cells
    in_order = [by_cell[cell]["properties"] for cell in frame.spec.grid.cell_ids()]
    read = np.array([said["expected"] or 0 for said in in_order], np.float32)
    assert read.tobytes() == np.where(frame.support[:, 0] > 0, frame.expected[:, 0, 1], 0).tobytes()
    assert {(type(said["lift"]), bool(said["stale"])) for said in in_order} == {(float, False), (type(None), False)}
    ring = by_cell["r000c003"]["geometry"]["coordinates"][0]
    assert np.allclose(sorted(map(tuple, ring)), sorted(frame.spec.grid.polygon(3)), atol=1e-5)


def test_the_command_serves_until_it_is_told_to_stop_and_logs_no_secret(tmp_path, commands):
    leave_frame(tmp_path)
    token = make_token(tmp_path / "tokens.jsonl", "desk", [])
    port = free_port()
    words = ("serve", "--listen", f"127.0.0.1:{port}", "--tokens", str(tmp_path / "tokens.jsonl"))
    with (tmp_path / "log").open("wb") as log:
        environment = {**os.environ, "RISK_FRAMES": str(tmp_path)}
        process = commands.popen("incident_risk", *words, out=(log, log), env=environment)
    try:
        client = Client(f"http://127.0.0.1:{port}", token)
        until = time.monotonic() + 120
        while not is_there(client):
            assert process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.2)
        for wrong in ("x" * 43, token[:-1]):
            assert Client(client.base, wrong).get("/v1/regions").status == 401
        stream = client.ask("/v1/stream", preload_content=False)
        assert next(stream.stream(1))
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) in (0, -signal.SIGTERM)  # uvicorn ends by the signal itself, when all is closed
    finally:
        process.kill()
        process.wait()
    text = (tmp_path / "log").read_text(encoding="utf-8")
    assert f"http://127.0.0.1:{port}/" in text
    assert token[:20] not in text


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

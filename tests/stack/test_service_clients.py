"""The service as other people's programs use it: a fuzzer that reads its document, and GDAL."""

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

from service.tokens import Tokens, make_token
from streaming.rehearse.broker import free_port
from tests.harness.processes import run
from tests.harness.service import Client, is_there, leave_frame, running, toy_service

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

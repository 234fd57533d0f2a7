"""The service as other people's programs use it: a fuzzer that reads its document, and GDAL."""

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from streaming.serve.tokens import Tokens, make_token
from tests.harness.processes import run
from tests.harness.service import leave_frame, running, toy_service

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.stack


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """(address, token, the region's views)"""
    folder = tmp_path_factory.mktemp("frames")
    views = leave_frame(folder)
    token = make_token(folder / "tokens.jsonl", "client", [])
    with running(toy_service(folder, tokens=Tokens(folder / "tokens.jsonl"))) as base:
        yield base, token, views


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
    assert re.search(r"Tested: 14\b", ran.stdout), ran.stdout[-3000:]


needs_gdal = pytest.mark.skipif(shutil.which("ogrinfo") is None, reason="no ogrinfo on this machine (gdal-bin)")


def gdal(service, program, *words, layer=()):
    base, token, _ = service
    header = ("--config", "GDAL_HTTP_HEADERS", f"Authorization: Bearer {token}")
    ran = run(program, *header, *words, f"OAPIF:{base}/ogc", *layer)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@needs_gdal
def test_gdal_lists_a_layer_for_each_category_and_horizon(service):
    listed = gdal(service, "ogrinfo", "-ro")
    layers = set(re.findall(r"riverton\.\w+\.\d+h", listed))
    assert layers == {f"riverton.{c}.{h}" for c in ("all", "theft", "battery") for h in ("1h", "4h", "24h")}


@needs_gdal
def test_gdal_reads_every_cell_with_its_numbers_over_pages(service):
    _, _, (frame, _) = service
    words = ("-oo", "PAGE_SIZE=7", "-f", "GeoJSON", "/vsistdout/")
    features = json.loads(gdal(service, "ogr2ogr", *words, layer=["riverton.theft.4h"]))["features"]
    assert [one["properties"]["cell"] for one in features] == frame.spec.grid.cell_ids()
    read = np.array([one["properties"]["expected"] for one in features], np.float32)
    assert read.tobytes() == frame.expected[:, 0, 1].tobytes()
    ring = features[3]["geometry"]["coordinates"][0]
    assert np.allclose(sorted(map(tuple, ring)), sorted(frame.spec.grid.polygon(3)), atol=1e-5)


@needs_gdal
def test_gdal_asks_for_a_box(service):
    _, _, (frame, _) = service
    lat, lon = frame.spec.grid.corners()
    box = [f"{value:.6f}" for value in (lon[0] + 1e-4, lat[0] + 1e-4, lon[2] - 1e-4, lat[1] - 1e-4)]
    words = ("-ro", "-so", "-spat", *box)
    assert "Feature Count: 2\n" in gdal(service, "ogrinfo", *words, layer=["riverton.all.1h"])

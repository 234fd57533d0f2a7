"""The demo as a stranger meets it: it ends by itself, shows a picture, and leaves nothing running."""

import os
import re
import signal
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import urllib3

from schemas.frame import read_frames

pytestmark = pytest.mark.jvm


@contextmanager
def started(commands, out: Path, *options: str):
    """(The demo's process, what it prints.)"""
    read, write = os.pipe()
    with open(read, encoding="utf-8") as printed:
        with open(write, "wb") as end:
            demo = commands.popen("incident_risk", "demo", "--out", out, *options, out=(end, end))
        yield demo, printed


def left_of(out: Path) -> list[str]:
    """Processes that were started for this demo: all of them name its folder or were started from it."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        if str(out) in " ".join(process.info["cmdline"] or ()):
            found.append(" ".join(process.info["cmdline"])[:200])
    return found


def map_that_answers(demo, printed):
    """What the map of a running demo has asked for, once there is a score. The demo prints its address first."""
    address = None
    while address is None:
        line = printed.readline()
        assert line, "the demo ended before it said where its map is"
        address = re.search(r"http://127\.0\.0\.1:\d+/", line)
    while demo.poll() is None:
        answer = urllib3.request("GET", f"{address[0]}v1/regions", retries=False)
        if (found := answer.json())["regions"]:
            return found
        time.sleep(0.5)
    raise AssertionError("the map had no score before the demo ended")


def test_the_demo_ends_with_a_balanced_ledger_a_map_and_no_process_left(commands, tmp_path):
    out = tmp_path / "demo"
    with started(commands, out, "--seconds", "15") as (demo, printed):
        shown = map_that_answers(demo, printed)
        said = printed.read()
    assert demo.wait(60) == 0, said
    assert re.search(r"unaccounted\s+0\b", said), said
    assert re.search(r"model\s+\d+ of 501\s+[\d.]+%", said), said
    assert shown["regions"][0]["region"] == "chicago"
    assert f"--frames {out / 'frames'}" in said
    assert read_frames(out / "frames" / "chicago.frame").clock == "event"
    lines = (out / "scores.lp").read_text(encoding="utf-8").splitlines()
    assert any(line.startswith("risk,") for line in lines)
    counted = [line for line in lines if line.startswith("pipeline,region=chicago")][-1]
    assert "counted=501.0" in counted
    assert left_of(out) == []


@pytest.mark.nightly
def test_an_interrupted_demo_says_so_and_leaves_nothing_running(commands, tmp_path):
    out = tmp_path / "demo"
    with started(commands, out) as (demo, printed):
        deadline = time.monotonic() + 120
        while not (out / "broker").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(3)
        demo.send_signal(signal.SIGINT)
        said = printed.read()
    assert demo.wait(60) == 130, said
    assert "stopped" in said
    assert "Traceback" not in said
    deadline = time.monotonic() + 20
    while left_of(out) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left_of(out) == []

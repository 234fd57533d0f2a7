"""What a stranger runs first: the demo, which leaves nothing running, a storm with a store, and `prepare`."""

import csv
import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import urllib3

from benchmarks.local_store import local_store
from schemas.frame import read_frames
from streaming.jars import fetch_jars
from streaming.rehearse.broker import free_port
from streaming.rehearse.incident_replay import local_text
from streaming.settings import INFLUX_PREFIX, PREFIX
from tests.harness.processes import run, run_python


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
    lines = (" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["pid", "cmdline"]))
    return [line[:200] for line in lines if str(out) in line]


def map_that_answers(demo, printed):
    """What the map of a running demo has asked for, once there is a score. The demo prints its address first."""
    address = None
    while address is None:
        line = printed.readline()
        assert line, "the demo ended before it said where its map is"
        address = re.search(r"http://127\.0\.0\.1:\d+/", line)
    while demo.poll() is None:
        answer = urllib3.request("GET", f"{address[0]}v1/regions", retries=False)
        if (regions := answer.json())["regions"]:
            return regions
        time.sleep(0.5)
    raise AssertionError("the map had no score before the demo ended")


@pytest.mark.jvm
def test_the_demo_ends_with_a_balanced_ledger_a_map_and_no_process_left(commands, tmp_path):
    out = tmp_path / "demo"
    with started(commands, out, "--seconds", "20") as (demo, printed):
        shown = map_that_answers(demo, printed)
        output = printed.read()
    assert demo.wait(60) == 0, output
    assert re.search(r"unaccounted\s+0\b", output), output
    assert re.search(r"18:\d\d +fire around", output), output
    assert re.search(r"model\s+\d+ of 579\s+[\d.]+%", output), output
    assert "cells chosen by" in (out / "report.txt").read_text(encoding="utf-8")
    assert shown["regions"][0]["region"] == "montgomery"
    assert f"--frames {out / 'storm'}" in output
    assert read_frames(out / "frames" / "montgomery.frame").clock == "event"
    height = read_frames(out / "storm" / "montgomery.frame").by_category
    assert "2016-07-25 19:15" <= local_text(height.as_of_s, "America/New_York")[:16] < "2016-07-25 20:00"
    assert height.unusual
    lines = (out / "scores.lp").read_text(encoding="utf-8").splitlines()
    assert any(line.startswith("risk,") for line in lines)
    counted = [line for line in lines if line.startswith("pipeline,region=montgomery")][-1]
    assert "counted=579.0" in counted
    assert left_of(out) == []


@pytest.mark.jvm
@pytest.mark.nightly
def test_an_interrupted_demo_says_so_and_leaves_nothing_running(commands, tmp_path):
    out = tmp_path / "demo"
    with started(commands, out) as (demo, printed):
        deadline = time.monotonic() + 120
        while not (out / "broker").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(3)
        demo.send_signal(signal.SIGINT)
        output = printed.read()
    assert demo.wait(60) == 130, output
    assert "stopped" in output
    assert "Traceback" not in output
    deadline = time.monotonic() + 20
    while left_of(out) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left_of(out) == []


ROOT = Path(__file__).parents[2]
INCIDENTS = ROOT.parent / "shared" / "data" / "montgomery_911_2015_2016.zip"
DAY = "2016-01-23"
LIMIT_S = 240.0


BROKER = "risk broker"
JOB = """
risk train --data ../shared/data/montgomery_911_2015_2016.zip --layout montgomery --region montgomery --cell-m 2000 \
--until 2016-01-23 --out data/artifacts
export RISK_SINK=influxdb RISK_CLOCK=event INFLUXDB_V2_URL=http://127.0.0.1:8086 INFLUXDB_V2_TOKEN=my-token
risk run
""".strip().splitlines()
REPLAY = (
    "risk replay ../shared/data/montgomery_911_2015_2016.zip --layout montgomery --region montgomery "
    "--from 2016-01-23 --to 2016-01-24 --speed 2880"  # half a minute for the day
)


class Shell:
    """Terminals in one folder: runs commands and keeps what `export` sets."""

    def __init__(self, folder, replaced):
        self.folder, self.replaced = folder, replaced
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith((PREFIX, INFLUX_PREFIX))}

    def arguments(self, line):
        for old, new in self.replaced.items():
            line = line.replace(old, new)
        words = shlex.split(line)
        if words[0] == "export":
            self.environment |= dict(word.split("=", 1) for word in words[1:])
            return []
        assert words[0] == "risk", line
        return [sys.executable, "-m", "incident_risk", *words[1:]]

    def run(self, line):
        if words := self.arguments(line):
            ran = run(*words, cwd=self.folder, env=self.environment)
            assert ran.returncode == 0, f"{line}\n{ran.stdout[-2000:]}\n{ran.stderr[-2000:]}"

    def start(self, line, terminal):
        return subprocess.Popen(
            self.arguments(line), cwd=self.folder, env=self.environment, stdout=terminal, stderr=terminal
        )


def calls_of_the_day():
    with zipfile.ZipFile(INCIDENTS) as archive, archive.open(archive.namelist()[0]) as file:
        rows = csv.DictReader(io.TextIOWrapper(file, "utf-8"))
        return sum(row["timeStamp"].startswith(DAY) for row in rows)


def stored(http, url, metric):
    """{labels as text: highest of the newest values} of one metric in victoria-metrics.

    It keeps every value that was written for a time, in no order; totals only rise.
    """
    assert http.request("GET", f"{url}/internal/force_flush").status == 200
    answer = http.request("GET", f"{url}/api/v1/export", fields={"match[]": metric})
    rows = [json.loads(line) for line in answer.data.splitlines()]
    newest_values = {}
    for row in rows:
        newest = max(row["timestamps"])
        values = [value for value, at in zip(row["values"], row["timestamps"], strict=True) if at == newest]
        newest_values[json.dumps(row["metric"], sort_keys=True)] = max(values)
    return newest_values


@pytest.mark.nightly
def test_a_storm_that_is_trained_for_and_replayed_reaches_the_store(tmp_path, jar_cache):
    """Recounted from the file itself, with nothing of ours."""
    if not INCIDENTS.exists():
        pytest.skip(f"{INCIDENTS.name} is not at hand: it lies in ../shared/data, beside a checkout for developers")
    if shutil.which("victoria-metrics") is None:
        pytest.skip("victoria-metrics is not installed: apt-get install victoria-metrics")
    with local_store("victoria-metrics", tmp_path / "store") as url, urllib3.PoolManager(retries=False) as http:
        shell = Shell(tmp_path, {"../shared/data": str(INCIDENTS.parent), "http://127.0.0.1:8086": url})
        shell.environment |= {"RISK_KAFKA_BOOTSTRAP": f"127.0.0.1:{free_port()}", "RISK_CACHE": str(jar_cache)}
        with (tmp_path / "terminal.txt").open("wb") as terminal:
            broker = shell.start(BROKER, terminal)
            try:
                for line in JOB[:-1]:
                    shell.run(line)
                job = shell.start(JOB[-1], terminal)
                try:
                    shell.run(REPLAY)
                    calls, deadline = calls_of_the_day(), time.monotonic() + LIMIT_S
                    while sum(stored(http, url, "pipeline_consumed").values()) < calls:
                        output = (tmp_path / "terminal.txt").read_text(encoding="utf-8", errors="replace")
                        assert job.poll() is None, output[-3000:]
                        assert time.monotonic() < deadline, output[-3000:]
                        time.sleep(0.5)
                finally:
                    job.send_signal(signal.SIGINT)
                    code = job.wait(LIMIT_S)
                output = (tmp_path / "terminal.txt").read_text(encoding="utf-8", errors="replace")
                assert code == 0, output[-3000:]
            finally:
                broker.send_signal(signal.SIGINT)
                assert broker.wait(LIMIT_S) == 0
        ledger = {
            name: sum(stored(http, url, f"pipeline_{name}").values())
            for name in ("consumed", "counted", "rejected", "rejected_outside_grid")
        }
        assert ledger["consumed"] == calls == 913
        assert (ledger["rejected"], ledger["counted"]) == (1, 912)
        assert ledger["rejected_outside_grid"] == 1
        risks = stored(http, url, "risk_risk")
        manifest = json.loads(next((tmp_path / "data/artifacts/montgomery").glob("*/manifest.json")).read_bytes())
        spec = manifest["spec"]
        cells = spec["grid"]["rows"] * spec["grid"]["cols"]
        assert len(risks) == cells * (len(spec["categories"]) + 1) * len(spec["horizons_s"])
        assert all(0 <= risk <= 1 for risk in risks.values())
        assert read_frames(tmp_path / "data/frames/montgomery.frame").clock == "event"


def test_prepare_says_how_many_jars_are_there_and_a_second_time_needs_no_network(jar_cache):
    fetch_jars(jar_cache, ["connector"])
    away = {**os.environ, "RISK_CACHE": str(jar_cache), "HTTPS_PROXY": "http://127.0.0.1:1"}
    ran = run_python("-m", "incident_risk", "prepare", env=away)
    assert (ran.returncode, ran.stdout) == (0, f"4 jars in {jar_cache.expanduser()}\n"), ran.stderr

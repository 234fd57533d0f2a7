"""A project of `docker compose` in a checkout of its own, with what a test asks of it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import urllib3
import yaml

from tests.harness.compose_file import ROOT, SERVICES
from tests.harness.influxql import Store, table
from tests.harness.processes import run
from tests.harness.small_town import write_sample_weeks

FENCE = re.compile(r"^( *)```.*?\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
ENDS = {name for name, service in SERVICES.items() if service["restart"] == "on-failure:5"}  # with code 0
KAFKA = f"127.0.0.1:{os.environ.get('KAFKA_PORT', '9092')}"  # as compose.yaml reads it
SERVICE = f"http://127.0.0.1:{os.environ.get('SERVICE_PORT', '8321')}"
UNASKED = {name for name, service in SERVICES.items() if service.get("healthcheck") == {"disable": True}} - ENDS


def fence(page: str, word: str) -> str:
    """The one block of commands on a page that holds `word`."""
    (block,) = (block for _, block in FENCE.findall((ROOT / page).read_text(encoding="utf-8")) if word in block)
    return str(block)


def first_start(folder: Path) -> str:
    """The commands by which a page trains, builds and starts, with the sample's weeks in `folder` as their file."""
    block = fence("deploy/README.md", "risk train").replace(".ci/setup\n", "")
    return block.replace("incidents.csv", str(write_sample_weeks(folder))).replace("--layout ...", "--layout sample")


def training(folder: Path) -> str:
    """The one of them that trains."""
    return next(line for line in first_start(folder).splitlines() if "risk train" in line)


def checkout(folder: Path) -> Path:
    """What a commit of the tree here would hold, in `folder`."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)  # noqa: S607
    for name in filter(None, listed.stdout.decode().split("\0")):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)
    return folder


@contextmanager
def opened(folder: Path, environment: Mapping[str, str], *options: str) -> "Iterator[Project]":
    """A project in a new checkout at `folder`; at the end nothing of it is left."""
    project = Project(folder=checkout(folder), environment=environment, options=options)
    try:
        yield project
    finally:
        project.compose("down", "--volumes", "--timeout", "20")


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    folder: Path
    environment: Mapping[str, str]
    options: tuple[str, ...] = ()  # of every `docker compose`

    def run(self, *command: str, limit_s: float = 600.0, answer: str = "") -> str:
        """What a command in the checkout printed, `answer` as its input. Fails when its exit code is not 0."""
        ran = subprocess.run(
            command, cwd=self.folder, env={**self.environment}, input=answer, text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=limit_s,
        )  # fmt: skip
        assert ran.returncode == 0, f"{' '.join(command)}\n{ran.stdout[-12_000:]}"
        return ran.stdout

    def shell(self, script: str, limit_s: float = 1800.0) -> str:
        return self.run("/bin/bash", "-euo", "pipefail", "-c", script, limit_s=limit_s)

    def compose(self, *words: str, limit_s: float = 600.0) -> str:
        return self.run("docker", "compose", *self.options, *words, limit_s=limit_s)

    def containers(self) -> dict[str, dict[str, Any]]:
        """By service, what the engine knows of its container."""
        ids = self.compose("ps", "--all", "--quiet").split()
        containers = json.loads(self.run("docker", "inspect", *ids)) if ids else []
        return {each["Config"]["Labels"]["com.docker.compose.service"]: each for each in containers}

    def unhappy(self) -> dict[str, str]:
        """The services that are not as they should be, and how they are."""
        unhappy = {}
        for name, container in self.containers().items():
            state = container["State"]
            if name in ENDS:
                if (state["Status"], state["ExitCode"]) != ("exited", 0):
                    unhappy[name] = f"{state['Status']} {state['ExitCode']}"
            elif name in UNASKED:
                if name != "replay" and state["Status"] != "running":
                    unhappy[name] = state["Status"]
            elif (health := state.get("Health", {}).get("Status")) != "healthy":
                unhappy[name] = f"{state['Status']} {health}"
        return unhappy

    def wait_until_well(self, limit_s: float = 420.0) -> float:
        """Seconds until every service is healthy, or has ended with code 0."""
        began = time.monotonic()
        wait(lambda: not self.unhappy(), limit_s, lambda: f"{self.unhappy()}\n{self.compose('logs', '--tail', '30')}")
        return time.monotonic() - began

    def kill(self, service: str) -> None:
        """SIGKILL to the container's first process, as when the machine has no memory left."""
        os.kill(self.containers()[service]["State"]["Pid"], signal.SIGKILL)

    def restarts(self, service: str) -> int:
        return int(self.containers()[service]["RestartCount"])

    def memory_gib(self, service: str) -> float:
        """What its processes hold now, without the cache of files that the kernel gives up when it must."""
        used = self.compose("stats", "--no-stream", "--format", "{{.MemUsage}}", service).split("/")[0].strip()
        number, unit = re.fullmatch(r"([\d.]+)(\w+)", used).groups()
        return float(number) * {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}[unit] / 2**30

    @contextmanager
    def watched_memory(self, service: str) -> Iterator[list[float]]:
        """A list that grows by a service's memory, GiB, as often as the engine tells it."""
        used_gib, over = [self.memory_gib(service)], threading.Event()

        def watch() -> None:
            while not over.is_set():
                used_gib.append(self.memory_gib(service))

        with ThreadPoolExecutor(1) as pool:
            watching = pool.submit(watch)
            try:
                yield used_gib
            finally:
                over.set()
                watching.result()

    def address(self, service: str) -> str:
        networks = self.containers()[service]["NetworkSettings"]["Networks"].values()
        return next(str(network["IPAddress"]) for network in networks if network["IPAddress"])

    def token(self, of: str) -> str:
        """The token that `scorer` or `grafana` has in its container."""
        return self.compose("exec", of, "cat", f"/run/secrets/{of}_influx_token").strip()

    def store(self, token: str, bucket: str = "risk") -> Store:
        return Store(url=f"http://{self.address('influxdb')}:8086", database=bucket, token=token)

    def grafanas_store(self) -> Store:
        """As Grafana reads it."""
        return self.store(self.token("grafana"))

    def scorers_log(self) -> str:
        return self.compose("logs", "--tail", "60", "scorer")

    def wait_for_consumed(self, count: int) -> None:
        wait_for_consumed(self.grafanas_store, count, self.scorers_log)

    def wait_for_new_scores(self, region: str = "mycity", after_s: float | None = None) -> None:
        wait_for_new_scores(self.grafanas_store, self.scorers_log, region, after_s)


def wait(done: Callable[[], bool], limit_s: float, otherwise: Callable[[], object]) -> None:
    """Fails with what `otherwise` gives when it is not done in time."""
    deadline = time.monotonic() + limit_s
    while not done():
        assert time.monotonic() < deadline, otherwise()
        time.sleep(2)


def wait_for_consumed(
    open_store: Callable[[], Store], count: int, how_it_is: Callable[[], str], limit_s: float = 300.0
) -> None:
    """Until the ledgers of all regions have so many messages. The store may only start meanwhile."""

    def so_far() -> int:
        try:
            rows = table(open_store().series("SELECT last(consumed) FROM pipeline GROUP BY region"))
        except (AssertionError, urllib3.exceptions.HTTPError):
            return -1
        return sum(row["last"] for row in rows)

    wait(lambda: so_far() >= count, limit_s, lambda: f"{so_far()} of {count}\n{how_it_is()}")
    assert so_far() == count


def wait_for_new_scores(
    open_store: Callable[[], Store], how_it_is: Callable[[], str], region: str = "mycity", after_s: float | None = None
) -> None:
    """Until there is a score after `after_s`, now if it is not given. The store may only start meanwhile."""
    query = f"SELECT last(risk) FROM risk WHERE region = '{region}' AND time > now() - 10m"  # noqa: S608
    after_ms = 1000 * (time.time() if after_s is None else after_s)

    def are_there() -> bool:
        try:
            series = open_store().series(query)
        except (AssertionError, urllib3.exceptions.HTTPError):
            return False
        return bool(series) and series[0]["values"][0][0] > after_ms

    wait(are_there, 300, how_it_is)


RECAP = re.compile(r"^here +: ok=\d+ +changed=(\d+) +unreachable=0 +failed=0 ", re.MULTILINE)


def write_inventory(folder, group, **values):
    """An inventory whose one machine is this one."""
    here = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable}
    path = folder / "inventory.yml"
    path.write_text(yaml.safe_dump({group: {"hosts": {"here": here}, "vars": values}}))
    return path


def play(inventory, environment, playbook, *options):
    """How many tasks of a playbook changed something, and all that it printed. Fails when one failed."""
    program = Path(sys.executable).with_name("ansible-playbook")
    own = {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_HOME": str(inventory.parent / "ansible"), "LC_ALL": "C.UTF-8"}
    words = (program, "--inventory", inventory, ROOT / "deploy" / "ansible" / f"{playbook}.yml", *options)
    ran = run(*words, env={**environment, **own}, timeout=3600)
    recap = RECAP.search(ran.stdout)
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-2000:]
    assert recap, ran.stdout[-6000:]
    return int(recap[1]), ran.stdout

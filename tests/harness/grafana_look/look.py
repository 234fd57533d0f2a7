"""Builds the program that draws the pages, once a machine, and lets it look at them in Chromium."""

import fcntl
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PARTS = (
    "package.json",
    "package-lock.json",
    ".npmrc",
    "build.mjs",
    "inspect.mjs",
    *sorted(f"src/{path.name}" for path in (HERE / "src").iterdir()),
)
NODE, NPM = shutil.which("node"), shutil.which("npm")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
_BUILD_S, _LOOK_S = 600, 600
_LEAST_NODE = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One page in one theme on a screen of this width; png: where its picture goes. query: of the address."""

    uid: str
    theme: str
    width: int
    query: str = ""
    png: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    panel: str
    what: str
    text: str


def missing() -> str | None:
    """What this machine lacks, or None."""
    if CHROMIUM is None:
        return "no chromium on this machine: apt-get install chromium"
    if NODE is None or NPM is None:
        return "no node on this machine: apt-get install nodejs npm"
    version = subprocess.run([NODE, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").partition(".")[0]) < _LEAST_NODE:
        return f"node is {version}, must be {_LEAST_NODE} or newer"
    return None


def build() -> Path:
    """The folder of the built program, in the user's cache: made anew only when a part of it has changed.

    Packages are those of package-lock.json, checked against its hashes; none of their install scripts runs. Raises
    CalledProcessError when npm cannot fetch them.
    """
    contents = b"".join((HERE / part).read_bytes() for part in PARTS)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "incident-risk-scorer" / f"grafana-look-{sha256(contents).hexdigest()[:16]}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:  # one worker of the tests builds, the others wait
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "built").exists():
            _build_in(folder)
    return folder


def _build_in(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for part in PARTS:
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(HERE / part, folder / part)
    prune = [NPM, "prune", "--omit=dev"]  # what is bundled by then: 0.5 GB
    for command in ([NPM, "ci", "--ignore-scripts"], [NODE, "build.mjs"], prune):
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=_BUILD_S)
    (folder / "built").touch()


def look(folder: Path, base: str, jobs: Sequence[Job], *, now_ms: int, zone: str = "UTC") -> list[list[Finding]]:
    """What is wrong with each page: cut or shortened text, columns out of sight, no data, too little contrast."""
    asked: dict[str, Any] = {"base": base, "chromium": CHROMIUM, "now": now_ms, "jobs": [asdict(job) for job in jobs]}
    env = {**os.environ, "TZ": zone}  # of the browser
    command = [NODE, "inspect.mjs", json.dumps(asked)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_LOOK_S, check=False, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    return [[Finding(**finding) for finding in findings] for findings in json.loads(done.stdout)]

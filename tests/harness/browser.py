"""Pages as Chromium shows them, and what can be done on them by hand and keys."""

import fcntl
import json
import os
import shutil
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("browser.mjs")
PACKAGES = Path(__file__).with_name("chromium")  # of npm: puppeteer, and axe
NODE, NPM = shutil.which("node"), shutil.which("npm")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FETCH_S, LEAST_NODE = 600, 18


def missing() -> str | None:
    """What this machine lacks, or None."""
    if CHROMIUM is None:
        return "no chromium on this machine: apt-get install chromium"
    if NODE is None or NPM is None:
        return "no node on this machine: apt-get install nodejs npm"
    version = subprocess.run([NODE, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").partition(".")[0]) < LEAST_NODE:
        return f"node is {version}, must be {LEAST_NODE} or newer"
    return None


def fetched() -> Path:
    """A folder in the user's cache with the packages, fetched anew only when their list has changed.

    They are those of package-lock.json, checked against its hashes; none of their install scripts runs. Raises
    CalledProcessError when npm cannot fetch them.
    """
    files = sorted(PACKAGES.iterdir())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = f"chromium-{sha256(b''.join(path.read_bytes() for path in files)).hexdigest()[:16]}"
    folder = cache / "incident-risk-scorer" / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:  # one worker of the tests fetches, the others wait
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "fetched").exists():
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(PACKAGES, folder)
            command = [NPM, "ci", "--ignore-scripts"]
            subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=FETCH_S)
            (folder / "fetched").touch()
    return folder


@pytest.fixture(scope="session")
def page_program() -> Path:
    """The folder of the packages that look at pages in Chromium."""
    if (lack := missing()) is not None:
        pytest.skip(lack)
    try:
        return fetched()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"the packages of tests/harness/chromium could not be fetched: {error.stderr.decode()[-300:]}")


@pytest.fixture(scope="session")
def browser(page_program, tmp_path_factory):
    """browser(*jobs): what the one Chromium of the run shows of each page."""
    order = json.dumps({"folder": str(page_program), "chromium": CHROMIUM})
    said = tmp_path_factory.mktemp("browser") / "stderr"
    with said.open("wb") as errors:
        node = subprocess.Popen([NODE, SCRIPT, order], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)

    def look(*jobs):
        node.stdin.write(json.dumps(jobs).encode() + b"\n")
        node.stdin.flush()
        answer = node.stdout.readline()
        assert answer, said.read_text(encoding="utf-8")[-2000:]
        pages = json.loads(answer)
        for page in pages:
            assert (page["errors"], page["beyond"]) == ([], []), page
        return pages

    yield look
    node.communicate(timeout=60)  # it ends with its input, and closes Chromium

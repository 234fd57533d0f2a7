"""Pages as Chromium shows them, and what can be done on them by hand and keys."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.harness.grafana_look.look import CHROMIUM, NODE, NPM, build, missing

SCRIPT = Path(__file__).with_name("browser.mjs")


@pytest.fixture(scope="session")
def page_program() -> Path:
    """The folder of the built program that looks at pages in Chromium."""
    if (lack := missing()) is not None:
        pytest.skip(lack)
    try:
        return build()
    except subprocess.CalledProcessError as error:
        if error.cmd[0] != NPM:
            raise
        pytest.skip(f"the packages of tests/harness/grafana_look could not be fetched: {error.stderr.decode()[-300:]}")


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

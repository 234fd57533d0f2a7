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
def browser(page_program):
    """browser(*jobs): what Chromium shows of each page."""

    def look(*jobs):
        asked = json.dumps({"folder": str(page_program), "chromium": CHROMIUM, "jobs": jobs})
        done = subprocess.run([NODE, SCRIPT, asked], capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        pages = json.loads(done.stdout)
        for page in pages:
            assert (page["errors"], page["beyond"]) == ([], []), page
        return pages

    return look

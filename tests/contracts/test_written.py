"""What code writes: the files that people copy are those of the code, and each part of a page has its place."""

import pytest

from docs.written import PARTS, PLACE, files, filled
from tests.contracts.test_readme import PAGES, ROOT


@pytest.mark.parametrize(("path", "content"), files().items(), ids=lambda value: getattr(value, "name", ""))
def test_a_file_is_what_code_writes(path, content):
    assert path.read_bytes() == content, "run `make pages` and commit the result"


def test_every_part_that_code_writes_has_one_page():
    places = [name for page in PAGES for name in PLACE.findall((ROOT / page).read_text(encoding="utf-8"))]
    assert sorted(places) == sorted(PARTS)


def test_what_code_writes_of_a_page_tells_what_is_declared():
    page = filled((ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8"))
    assert "- `RISK_TRIGGER_S`: Shortest time between two batches, seconds (default `0.5`)" in page
    codes = PARTS["exit codes"]()
    assert "- 9: `EventsGone`: Kafka deleted events" in codes
    assert "- `incident_risk_events_total{region,outcome}`: " in PARTS["metrics"]()
    assert "risk executor" not in PARTS["live commands"](), "it is hidden"
    assert "### `risk feedback send`" in PARTS["live commands"]().replace("#### ", "### ")

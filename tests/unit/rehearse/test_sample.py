from collections import Counter
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from models.files.incident_files import read_incidents
from models.files.layouts import LAYOUTS
from streaming.rehearse.incident_replay import DEMO_DAY, SAMPLE

NOTICE = SAMPLE.parent / "NOTICE.md"
DATA = Path(__file__).parents[4] / "shared" / "data" / "README.md"


def test_the_sample_is_five_whole_weeks_that_end_with_the_demo_day():
    table = read_incidents(SAMPLE, LAYOUTS["sample"])
    days = Counter(
        datetime.fromtimestamp(second, ZoneInfo(table.timezone)).date() for second in table.occurred_s.tolist()
    )
    assert (min(days), max(days), len(days)) == (date(2017, 9, 17), date.fromisoformat(DEMO_DAY), 35)
    assert (min(days).weekday(), max(days).weekday()) == (6, 5)
    assert (len(table), days[max(days)]) == (16_400, 501)
    assert table.categories == ("assault", "battery", "criminal_damage", "theft")
    assert not table.skipped


def test_the_sample_is_small_and_carries_the_citys_notice():
    assert SAMPLE.stat().st_size <= 400_000
    if not DATA.is_file():
        pytest.skip(f"the source's terms are not at {DATA}")
    notice = DATA.read_text(encoding="utf-8").split('City of Chicago: "')[1].split('"')[0]
    assert notice in NOTICE.read_text(encoding="utf-8")

"""What shifts said is counted on its page, by kind and day, and nowhere else."""

from collections import Counter

import numpy as np
import pytest

from schemas.decode import MARKS
from tests.harness.grafana_world import VARIABLES, feedback_lines
from tests.harness.influxql import shown, table
from tests.harness.pages import PAGES

DAY_S = 86_400
NOW_S = 1_700_000_000
PANELS = {
    panel["title"]: panel
    for panel in PAGES["does-it-help"]["panels"]
    if any('"feedback"' in target["query"] for target in panel.get("targets", []))
}


@pytest.fixture(scope="module")
def store(influxdb):
    return influxdb.another("marks")


@pytest.fixture(scope="module")
def marks(store):
    """The lines of a shift in the page's region; another region has some, too."""
    draw = np.random.default_rng(3)
    ours = feedback_lines("northville", NOW_S, draw)
    store.write(ours + ours.splitlines(keepends=True)[0] + feedback_lines("southville", NOW_S, draw, days=3))
    return [line.decode() for line in sorted(set(ours.splitlines()))]


def asked(store, title):
    """The rows of each mark's query, by mark."""
    targets = PANELS[title]["targets"]
    span = {"from_s": NOW_S - 30 * DAY_S, "to_s": NOW_S}
    rows = [table(shown(store, target["query"], **span, variables=VARIABLES)) for target in targets]
    return dict(zip(MARKS, rows, strict=True))


def kind_of(line):
    return next(mark for mark in MARKS if f",mark={mark}," in line)


def number(row):
    return next(value for name, value in row.items() if name != "Time")


def test_each_kind_is_counted_once(store, marks):
    told = {mark: sum(map(number, rows)) for mark, rows in asked(store, "What shifts said").items()}
    assert told == Counter(map(kind_of, marks))


def test_by_the_day_of_the_scores_that_are_meant(store, marks):
    wanted = Counter((kind_of(line), int(line.split()[-1]) // DAY_S) for line in marks)
    told = {
        (mark, row["Time"] // 1000 // DAY_S): number(row)
        for mark, rows in asked(store, "What shifts said, by day").items()
        for row in rows
    }
    assert told == wanted


def test_no_other_panel_reads_them():
    readers = {
        (name, panel["title"])
        for name, page in PAGES.items()
        for panel in page["panels"]
        if any('"feedback"' in target["query"] for target in panel.get("targets", []))
    }
    assert readers == {("does-it-help", title) for title in PANELS}
    assert set(PANELS) == {"What shifts said", "What shifts said, by day"}


@pytest.mark.parametrize("title", sorted(PANELS))
def test_a_page_without_marks_says_how_to_send_one(influxdb, title):
    empty = influxdb.another("no_marks")
    assert all(rows == [] for rows in asked(empty, title).values())
    assert "risk feedback send" in PANELS[title]["fieldConfig"]["defaults"]["noValue"]

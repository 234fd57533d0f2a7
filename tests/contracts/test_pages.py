"""What every page keeps to: lines and cells that can be read, and headings in steps."""

import re
from itertools import pairwise

from tests.contracts.test_readme import PAGES, ROOT

FENCE = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
LONGEST_LINE = 250
MOST_WORDS = 16  # of a cell; what needs a sentence is a list


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


def cells_of(text):
    for line in FENCE.sub("", text).splitlines():
        if line.startswith("|"):
            yield from (cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1])


def test_no_line_is_too_long_to_read():
    lines = [(page, line) for page in PAGES for line in FENCE.sub("", text_of(page)).splitlines()]
    assert [(page, line) for page, line in lines if len(line) >= LONGEST_LINE] == []


def test_no_cell_of_a_table_holds_a_sentence():
    cells = [(page, cell) for page in PAGES for cell in cells_of(text_of(page))]
    assert [(page, cell) for page, cell in cells if ". " in cell or len(cell.split()) > MOST_WORDS] == []


def test_a_page_has_one_title_and_headings_in_order():
    for page in PAGES:
        levels = [len(marks) for marks in re.findall(r"^(#+) ", FENCE.sub("", text_of(page)), re.MULTILINE)]
        assert (levels[0], levels.count(1)) == (1, 1), page
        assert all(after <= before + 1 for before, after in pairwise(levels)), page

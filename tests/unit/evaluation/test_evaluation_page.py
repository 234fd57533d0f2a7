"""The report of an evaluation: figures and page say what the dataclasses say, and need nothing else."""

import json
import re
from dataclasses import replace
from html import unescape

import pytest

from models.evaluation.drawing import description, reliability_diagram
from models.evaluation.evaluation_report import (
    COLUMNS,
    NONE,
    as_json,
    difference_text,
    render,
    sentences,
    texts,
    warnings,
    write_report,
)
from schemas.errors import DataError
from tests.harness.html_elements import Elements
from tests.harness.small_evaluation import HOSTILE, small_evaluation

ALL_QUIET = {"categories": ("fire",), "quiet": ("fire",), "judged": 40}


@pytest.fixture(scope="module")
def evaluation():
    return small_evaluation(skill=0.3)


@pytest.fixture(scope="module")
def folder(evaluation, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    write_report(evaluation, folder)
    return folder


@pytest.fixture(scope="module")
def page(folder):
    return (folder / "index.html").read_text(encoding="utf-8")


@pytest.fixture(
    scope="module",
    params=[
        {},
        {"quiet": ("fire",), "network": HOSTILE, "categories": ("fire", HOSTILE)},
        {"steps_per_week": 168, "steps": 24 * 20, "judged": 24 * 8, "rate": 0.02, "categories": ("all",)},
        {"judged": 3, "seeds": 1, "bias": 3.0},
        ALL_QUIET,
    ],
    ids=["daily", "quiet category", "hourly", "short", "no incident"],
)
def any_evaluation(request):
    return small_evaluation(**request.param)


def test_the_diagram_has_words_on_its_axes_and_can_be_drawn(any_evaluation, tmp_path):
    figure = reliability_diagram(any_evaluation)
    assert any(axes.get_title(loc="left") for axes in figure.axes)
    assert any(axes.get_xlabel() for axes in figure.axes)
    assert all(axes.get_ylabel() for axes in figure.axes)
    figure.savefig(tmp_path / "figure.png", dpi=40)
    assert "nan" not in description(any_evaluation)


# ---- page


def test_the_page_needs_nothing_but_itself(page):
    elements = Elements(page).found
    assert "script" not in {tag for tag, _ in elements}
    assert not [name for _, attributes in elements for name in attributes if name.startswith("on")]
    loads = [value for _, attributes in elements for name, value in attributes.items() if name in ("src", "href")]
    assert [value for value in loads if not value.startswith("data:image/png;base64,")] == ["evaluation.json"]
    assert not re.search(r"url\(|@import", page)
    policy = next(attributes["content"] for _, attributes in elements if "http-equiv" in attributes)
    assert "default-src 'none'" in policy


def test_the_page_can_be_read_by_all(page):
    elements = Elements(page).found
    assert ("html", {"lang": "en"}) in elements
    images = [attributes for tag, attributes in elements if tag == "img"]
    assert len(images) == 1
    assert all(len(attributes["alt"]) > 30 for attributes in images)
    headers = [attributes for tag, attributes in elements if tag == "th"]
    assert headers
    assert all(attributes.get("scope") in ("row", "col") for attributes in headers)


def test_the_page_has_every_number_of_the_table(evaluation, page):
    cells = Elements(page).cells
    for column in COLUMNS:
        for text in texts(column, [row.scores.sheet for row in evaluation.rows]):
            assert text in cells
    for row in evaluation.rows:
        assert row.model in cells
        assert difference_text(row, evaluation) in cells


def test_the_page_says_what_was_found_and_what_it_is_not_for(evaluation, page):
    text = " ".join(unescape(page).split())
    assert all(sentence in text for sentence in (*sentences(evaluation), *warnings(evaluation)))
    assert evaluation.task.data_sha256 in text
    assert "places, never people" in text
    assert "enforcement" in text
    assert "predictive policing" not in text.lower()


def test_names_are_text_in_the_page():
    hostile = small_evaluation(network=HOSTILE, categories=("fire", HOSTILE))
    hostile = replace(hostile, task=replace(hostile.task, title=HOSTILE))
    parsed = Elements(render(hostile, b""))
    assert "script" not in {tag for tag, _ in parsed.found}
    assert HOSTILE in parsed.cells
    assert not [name for _, attributes in parsed.found for name in attributes if name not in KNOWN]


KNOWN = {"lang", "charset", "http-equiv", "content", "name", "class", "id", "role", "tabindex", "scope"}
KNOWN |= {"src", "alt", "href", "aria-labelledby", "aria-label"}


def test_a_time_without_incidents_is_reported_as_that():
    cells = Elements(render(small_evaluation(**ALL_QUIET), b"")).cells
    assert NONE in cells
    assert "nan" not in cells


def test_the_json_is_written(evaluation, folder):
    assert json.loads((folder / "evaluation.json").read_text(encoding="utf-8")) == as_json(evaluation)


def test_the_report_replaces_an_older_one_and_equal_evaluations_give_equal_files(folder, tmp_path):
    (tmp_path / "index.html").write_text("old")
    write_report(small_evaluation(skill=0.3), tmp_path)
    names = {"index.html", "evaluation.json", "reliability.png"}
    assert {path.name for path in tmp_path.iterdir()} == names
    for name in names:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name


def test_a_folder_that_cannot_be_written_is_named(evaluation, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"file.*choose another"):
        write_report(evaluation, tmp_path / "file" / "report")

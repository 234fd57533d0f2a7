"""The report of an evaluation: JSON, table, figures and page say what the dataclasses say, and need nothing else."""

import json
import re
from dataclasses import fields, replace
from html import unescape
from html.parser import HTMLParser
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from models.evaluation.origins import combine_origins
from models.evaluation.report.as_json import as_json
from models.evaluation.report.columns import MAIN, NONE, difference_text, texts
from models.evaluation.report.drawing.differences import difference_plot
from models.evaluation.report.page import render, write_report
from models.evaluation.report.plots import PLOTS
from models.evaluation.report.table import print_table
from models.evaluation.report.wording import answers, verdict_sentence, warnings
from models.measures.paired import Difference
from models.measures.scores import Sheet
from schemas.errors import DataError
from tests.harness.small_evaluation import SCORED, small_evaluation

HOSTILE = "<script>alert(1)</script> & $x^2 [red]\"'"
NO_PICTURES = {plot.name: b"" for plot in PLOTS}
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


def strict(text):
    def refuse(constant):
        raise ValueError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def with_network(evaluation, **changes):
    """The evaluation with another network's row."""
    rows = [replace(row, **changes) if row.kind == "network" else row for row in evaluation.rows]
    return replace(evaluation, rows=rows)


def drawn(name, evaluation):
    return next(plot for plot in PLOTS if plot.name == name).draw(evaluation)


def with_sheet(evaluation, **changes):
    scores = evaluation.network.scores
    return with_network(evaluation, scores=replace(scores, sheet=replace(scores.sheet, **changes)))


def difference(mean, low, high, verdict, blocks=30):
    return Difference(mean=mean, low=low, high=high, blocks=blocks, correlation=0.0, verdict=verdict)


# ---- evaluation.json


def null(value):
    return None if np.isnan(value) else value


def test_the_json_has_every_figure_of_every_row(evaluation, folder):
    written = strict((folder / "evaluation.json").read_text(encoding="utf-8"))
    assert written == as_json(evaluation)
    assert [row["model"] for row in written["rows"]] == [row.model for row in evaluation.rows]
    for found, row in zip(written["rows"], evaluation.rows, strict=True):
        for kept, sheet in ((found, row.scores.sheet), *_by_category(found, row)):
            for field in fields(Sheet):
                if field.name != "ranking":
                    assert kept[field.name] == null(getattr(sheet, field.name)), field.name
            for one in sheet.ranking:
                for name in ("hit_rate", "ideal_hit_rate", "pai", "pei"):
                    assert kept[name][f"{one.area_share:g}"] == null(getattr(one, name))
        assert found["totals"]["city"]["ratio"] == row.totals.city.ratio
        assert found["totals"]["city"]["n_test"] == row.totals.city.n_test
        for part in ("by_category", "by_hour", "by_weekday", "by_week", "by_district"):
            totals = getattr(row.totals, part)
            assert [total["name"] for total in found["totals"][part]] == [total.name for total in totals]
            assert [total["actual"] for total in found["totals"][part]] == [total.actual for total in totals]
        assert found["spread"]["nb_log_score"] == list(row.log_scores_of_seeds)
        assert (found["kind"], found["seeds"], found["seconds"]) == (row.kind, row.seeds, row.seconds)
        assert (found["chosen"], list(found["dispersion"].values())) == (dict(row.chosen), list(row.dispersion))


def _by_category(found, row):
    assert list(found["by_category"]) == list(row.scores.by_category)
    return zip(found["by_category"].values(), row.scores.by_category.values(), strict=True)


def test_the_json_compares_with_the_best_baseline(evaluation):
    for written, row in zip(as_json(evaluation)["rows"], evaluation.rows, strict=True):
        versus = written["versus_best_baseline"]
        kept = row.versus_best_baseline
        assert (versus is None) == (kept is None) == (row.model == evaluation.best_baseline)
        if kept:
            found = tuple(versus[name] for name in ("difference", "low", "high", "verdict"))
            assert found == (kept.mean, kept.low, kept.high, kept.verdict)
            score = evaluation.row(evaluation.best_baseline).scores.sheet.nb_log_score
            assert versus["percent"] == pytest.approx(100 * kept.mean / score)


def test_the_spread_over_seeds_is_that_of_numpy(evaluation):
    rows = {row["kind"]: row for row in as_json(evaluation)["rows"]}
    scores = evaluation.network.log_scores_of_seeds
    assert rows["network"]["spread"]["standard_deviation"] == pytest.approx(np.std(scores, ddof=1))
    assert rows["rule"]["spread"]["standard_deviation"] is None


def test_what_needs_an_incident_is_null_where_there_was_none():
    quiet = as_json(small_evaluation(quiet=("fire",)))
    fire = quiet["rows"][0]["by_category"]["fire"]
    assert (fire["auc_pr"], fire["forecast_over_actual"], fire["pai"]["0.1"]) == (None, None, None)
    assert fire["nb_log_score"] is not None
    strict(json.dumps(quiet, allow_nan=False))


def test_a_district_without_scored_cells_has_no_n_test(evaluation):
    dark = replace(evaluation.network.totals.by_district[0], forecast=0.0, actual=0, variance=0.0)
    totals = replace(evaluation.network.totals, by_district=(dark, *evaluation.network.totals.by_district[1:]))
    emptied = with_network(evaluation, totals=totals)
    district = as_json(emptied)["rows"][0]["totals"]["by_district"][0]
    assert (district["ratio"], district["n_test"]) == (None, None)
    assert drawn("totals", emptied).axes[2].get_ylim()[0] > 0


# ---- table


def printed(evaluation, width):
    console = Console(width=width, file=StringIO())
    print_table(evaluation, console)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [200, 100, 80, 60])
def test_the_table_keeps_its_numbers_whole_at_any_width(evaluation, width):
    lines = printed(evaluation, width)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    sheets = [row.scores.sheet for row in evaluation.rows]
    for row, score in zip(evaluation.rows, texts(MAIN[0], sheets), strict=True):
        line = next(line for line in lines if line.startswith(row.model))
        assert score in line.split()
        assert difference_text(row, evaluation) in line
    assert "…" not in text


def test_at_100_columns_nothing_is_left_out_and_at_80_the_least_important_is(evaluation):
    sheets = [row.scores.sheet for row in evaluation.rows]
    for width, missing in ((100, set()), (80, {"hit 5\N{NO-BREAK SPACE}%", "Poisson dev.", "CRPS"})):
        lines = "\n".join(printed(evaluation, width)).split("\n\n")[0].split()
        shown = {column.heading for column in MAIN if set(texts(column, sheets)) <= set(lines)}
        assert {column.heading for column in MAIN} - shown == missing


def test_names_are_no_markup():
    text = "\n".join(printed(small_evaluation(network=HOSTILE), 200))
    assert HOSTILE in text


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (difference(-0.02, -0.03, -0.01, "better"), r"better than the best baseline \(EWMA x week\) by 2\.\d\d % .*"),
        (difference(0.02, 0.01, 0.03, "worse"), r"worse than the best baseline .* by 2\.\d\d % .*: use EWMA x week\."),
        (
            difference(0.001, -0.01, 0.012, "tie"),
            r"A tie: .* \+0\.\d\d %, .* contains zero: use EWMA x week, it is simpler",
        ),
        (
            difference(0.02, 0.01, 0.03, "too short", 4),
            r"Not known against .* 4 blocks of 3 days, .* 10\. .* use EWMA x week",
        ),
    ],
)
def test_the_verdict_is_said_in_words(evaluation, found, words):
    changed = with_network(evaluation, versus_best_baseline=found, versus_best_rule=found)
    assert re.search(words, verdict_sentence(changed))
    assert verdict_sentence(changed) in " ".join(printed(changed, 1000))


def test_what_is_not_known_has_no_size(evaluation):
    unknown = difference(-0.02, -0.03, -0.01, "too short", 4)
    short = with_network(with_regression(evaluation), versus_best_baseline=unknown, versus_best_rule=unknown)
    assert [one.short for one in answers(short)[:2]] == ["Not known yet", "Not known yet"]


def with_regression(evaluation):
    """The same, but that the best baseline sees the features; the best rule is another."""
    seen = evaluation.row(evaluation.best_baseline)
    rule = next(row for row in evaluation.rows if row.kind == "rule" and row is not seen)
    rows = [replace(row, kind="regression") if row is seen else row for row in evaluation.rows]
    return replace(evaluation, rows=rows, best_rule=rule.model)


def test_counting_and_the_best_baseline_are_answered_apart(evaluation):
    better, tie = difference(-0.02, -0.03, -0.01, "better"), difference(0.001, -0.01, 0.012, "tie")
    told = with_network(with_regression(evaluation), versus_best_baseline=tie, versus_best_rule=better)
    counting, network, use, *_ = answers(told)
    assert (counting.tone, network.tone) == ("better", "tie")
    assert told.best_rule in counting.sentences[0]
    assert told.best_baseline in network.sentences[0]
    assert counting.short.startswith("Yes, by 2.")
    text = " ".join(printed(told, 1000))
    assert counting.sentences[0] in text
    assert network.sentences[0] in text
    hits = [next(one for one in row.scores.sheet.ranking if one.area_share == 0.1).hit_rate for row in told.rows]
    by_model = dict(zip((row.model for row in told.rows), hits, strict=True))
    more = round(100 * (by_model["network"] - by_model[told.best_rule]), 1)
    assert use.short == f"{abs(more)} {'more' if more > 0 else 'fewer'} of 100 found"


def test_several_origins_are_in_the_page_the_terminal_and_the_json():
    parts = [small_evaluation(skill=0.3, seed=seed) for seed in (1, 2)]
    rolled = replace(parts[-1], origins=combine_origins(parts, seed=0))
    page = unescape(render(rolled, NO_PICTURES))
    written = strict(json.dumps(as_json(rolled), allow_nan=False))["origins"]
    for row in rolled.origins.rows:
        expected = [part.row(row.model).scores.sheet.nb_log_score for part in parts]
        assert row.nb_log_scores == tuple(expected)
        assert row.nb_log_score == pytest.approx(np.mean(expected))
        assert f"<td>{row.nb_log_score:.5f}</td>" in page
        found = next(one for one in written["rows"] if one["model"] == row.model)
        assert found["nb_log_scores"] == expected
        if row.model != rolled.origins.best_rule:
            rule = next(one for one in rolled.origins.rows if one.model == rolled.origins.best_rule)
            assert found["versus_best_rule"]["difference"] == pytest.approx(row.nb_log_score - rule.nb_log_score)
            assert found["versus_best_rule"]["blocks"] == 2 * 34
    assert "over all 2 origins" in " ".join(printed(rolled, 1000))
    assert "At earlier times" not in render(parts[0], NO_PICTURES)


def test_each_category_has_its_own_difference_and_verdict(evaluation):
    for found, row in zip(as_json(evaluation)["rows"], evaluation.rows, strict=True):
        best = evaluation.row(evaluation.best_baseline)
        for name, versus in found["versus_best_baseline_by_category"].items():
            scores = [one.scores.by_category[name].nb_log_score for one in (row, best)]
            assert versus["difference"] == pytest.approx(scores[0] - scores[1], abs=1e-12)
            assert versus["percent"] == pytest.approx(100 * (scores[0] - scores[1]) / scores[1], abs=1e-9)
        assert bool(found["versus_best_baseline_by_category"]) == (row is not best)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"forecast_over_actual": 0.949}, "too few incidents: forecast over actual is 0.949"),
        ({"forecast_over_actual": 1.051}, "too many incidents: forecast over actual is 1.051"),
        ({"forecast_over_actual": np.nan}, "No incident happened"),
        ({"coverage_90": 0.879}, "too narrow: those of 90 % contain 87.9 %"),
        ({"coverage_90": 0.921}, "too wide: those of 90 % contain 92.1 %"),
    ],
)
def test_a_broken_promise_is_a_warning_everywhere(evaluation, changes, words):
    broken = with_sheet(evaluation, coverage_90=0.9, forecast_over_actual=1.0)
    assert warnings(broken) == ()
    broken = with_sheet(broken, **changes)
    assert words in " ".join(warnings(broken))
    assert words in " ".join(printed(broken, 1000))
    assert any(words in sentence for answer in answers(broken) for sentence in answer.sentences)


# ---- figures


@pytest.mark.parametrize("plot", PLOTS, ids=lambda plot: plot.name)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"quiet": ("fire",), "network": HOSTILE, "categories": ("fire", HOSTILE)},
        {"steps_per_week": 168, "steps": 24 * 20, "judged": 24 * 8, "rate": 0.02, "categories": ("all",)},
        {"judged": 3, "seeds": 1, "bias": 3.0},
        ALL_QUIET,
    ],
    ids=["daily", "quiet category", "hourly", "short", "no incident"],
)
def test_every_figure_has_words_on_its_axes_and_can_be_drawn(plot, options, tmp_path):
    evaluation = small_evaluation(**options)
    figure = plot.draw(evaluation)
    labelled = [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]
    assert any(axes.get_title(loc="left") for axes in labelled)
    assert any(axes.get_xlabel() for axes in labelled)
    if plot.name != "differences":  # its rows are named one by one
        assert any(axes.get_ylabel() for axes in labelled)
    figure.savefig(tmp_path / "figure.png", dpi=40)
    assert plot.caption
    assert len(plot.describe(evaluation)) > 30
    assert "nan" not in plot.describe(evaluation)


def test_the_map_shows_the_counts_where_they_belong(evaluation):
    figure = drawn("map", evaluation)
    cube = evaluation.cube
    for axes, values in zip(figure.axes, (evaluation.expected, evaluation.observed), strict=False):
        image = axes.images[-1]
        shown = np.ma.filled(image.get_array(), np.nan)
        summed = np.where(SCORED, values.sum(axis=1), np.nan).reshape(cube.rows, cube.cols)
        np.testing.assert_allclose(shown, summed)
        assert (image.origin, image.get_extent()) == ("lower", [0, 8, 0, 9])
    assert figure.axes[0].images[-1].norm.vmax == figure.axes[1].images[-1].norm.vmax


def test_the_forest_plot_shows_each_interval_or_points_to_it(evaluation):
    axes = drawn("differences", evaluation).axes[0]
    left, right = axes.get_xlim()
    versus = as_json(evaluation)["rows"][0]["versus_best_baseline"]
    low, mean, high = versus["percent_low"], versus["percent"], versus["percent_high"]
    assert left < low < mean < high < 0 < right
    lines = [tuple(np.round(line.get_xdata(), 9)) for line in axes.lines]
    assert tuple(np.round((low, high), 9)) in lines
    assert len([line for line in axes.lines if line.get_marker() == ">"]) == 2  # constant 1 and last week's count


@pytest.mark.parametrize("verdict", ["better", "worse", "tie", "too short", "too few"])
def test_every_verdict_can_be_drawn(evaluation, verdict):
    found = replace(evaluation.network.versus_best_baseline, verdict=verdict)
    difference_plot(with_network(evaluation, versus_best_baseline=found))


def test_the_mark_of_learning_is_the_least_loss(evaluation):
    curves = replace(evaluation, learning=((0.99, 0.97, 0.98), (1.2, 1.1, 1.3)))
    axes = drawn("learning", curves).axes[0]
    marks = [line.get_xydata().ravel().tolist() for line in axes.lines if line.get_marker() == "o"]
    assert marks == [[1.0, 0.97], [1.0, 1.1]]


# ---- page


class Elements(HTMLParser):
    """Every element with its attributes, and which are open when text comes."""

    def __init__(self):
        super().__init__()
        self.elements, self.cells, self._cell = [], [], None

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag in ("td", "th"):
            self._cell = ""

    def handle_data(self, data):
        if self._cell is not None:
            self._cell += data

    def handle_endtag(self, tag):
        if tag in ("td", "th") and self._cell is not None:
            self.cells.append(self._cell.strip())
            self._cell = None

    @classmethod
    def of(cls, page):
        parser = cls()
        parser.feed(page)
        parser.close()
        return parser


def test_the_page_needs_nothing_but_itself(page):
    elements = Elements.of(page).elements
    assert "script" not in {tag for tag, _ in elements}
    assert not [name for _, attributes in elements for name in attributes if name.startswith("on")]
    loads = [value for _, attributes in elements for name, value in attributes.items() if name in ("src", "href")]
    assert [value for value in loads if not value.startswith("data:image/png;base64,")] == ["evaluation.json"]
    assert not re.search(r"url\(|@import", page)
    policy = next(attributes["content"] for _, attributes in elements if "http-equiv" in attributes)
    assert "default-src 'none'" in policy


def test_the_page_can_be_read_by_all(page):
    elements = Elements.of(page).elements
    assert ("html", {"lang": "en"}) in elements
    images = [attributes for tag, attributes in elements if tag == "img"]
    assert len(images) == len(PLOTS)
    assert all(len(attributes["alt"]) > 30 for attributes in images)
    headers = [attributes for tag, attributes in elements if tag == "th"]
    assert headers
    assert all(attributes.get("scope") in ("row", "col") for attributes in headers)
    identities = [attributes["id"] for _, attributes in elements if "id" in attributes]
    assert len(identities) == len(set(identities))
    assert {attributes.get("aria-labelledby", identities[0]) for _, attributes in elements} <= set(identities)


def test_the_page_has_every_number_of_the_table(evaluation, page):
    cells = Elements.of(page).cells
    for column in MAIN:
        for text in texts(column, [row.scores.sheet for row in evaluation.rows]):
            assert text in cells
    for row in evaluation.rows:
        assert row.model in cells
        assert difference_text(row, evaluation) in cells


def test_the_page_has_every_category(evaluation, page):
    cells = Elements.of(page).cells
    for name in evaluation.cube.categories:
        assert f"Figures of {name}" in page
        for text in texts(MAIN[0], [row.scores.by_category[name] for row in evaluation.rows]):
            assert text in cells


def test_the_page_answers_and_says_what_it_is_not_for(evaluation, page):
    text = " ".join(unescape(page).replace("\N{NO-BREAK SPACE}", " ").split())
    for answer in answers(evaluation):
        assert answer.question in text
        assert all(sentence in text for sentence in answer.sentences)
    assert "places, never people" in text
    assert "enforcement" in text
    assert "predictive policing" not in text.lower()
    assert all(f"{name} {version}" in text for name, version in evaluation.versions.items())


def test_names_are_text_in_the_page():
    hostile = replace(small_evaluation(network=HOSTILE, categories=("fire", HOSTILE)), title=HOSTILE)
    parsed = Elements.of(render(hostile, NO_PICTURES))
    assert "script" not in {tag for tag, _ in parsed.elements}
    assert HOSTILE in parsed.cells
    assert not [name for _, attributes in parsed.elements for name in attributes if name not in KNOWN]


KNOWN = {"lang", "charset", "http-equiv", "content", "name", "class", "id", "role", "tabindex", "scope"}
KNOWN |= {"src", "alt", "href", "aria-labelledby", "aria-label"}


def test_a_time_without_incidents_is_reported_as_that():
    cells = Elements.of(render(small_evaluation(**ALL_QUIET), NO_PICTURES)).cells
    assert NONE in cells
    assert "nan" not in cells


def test_the_report_replaces_an_older_one_and_equal_evaluations_give_equal_files(folder, tmp_path):
    (tmp_path / "index.html").write_text("old")
    write_report(small_evaluation(skill=0.3), tmp_path)
    names = {"index.html", "evaluation.json", *(f"{plot.name}.png" for plot in PLOTS)}
    assert {path.name for path in tmp_path.iterdir()} == names
    for name in names:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name


def test_a_folder_that_cannot_be_written_is_named(evaluation, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"file.*choose another"):
        write_report(evaluation, tmp_path / "file" / "report")

"""The report of an evaluation: JSON, table, verdicts and page say what the dataclasses say."""

import json
import re
from dataclasses import asdict, replace
from html import unescape
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from models.comparison import ADDS_NOTHING, Difference
from models.evaluation.evaluate import combine_origins
from models.evaluation.evaluation_report import (
    COLUMNS,
    NONE,
    as_json,
    description,
    difference_text,
    print_table,
    reliability_diagram,
    render,
    sentences,
    texts,
    warnings,
    write_report,
)
from models.evaluation.judge import OUR_BASELINE
from models.nowcast import Nowcast
from schemas.errors import DataError
from schemas.spec import HOUR_S
from tests.harness.browser import Elements
from tests.harness.small_task import HOSTILE, small_evaluation, with_network


@pytest.fixture(scope="module")
def evaluation():
    return small_evaluation(skill=0.3)


def strict(text):
    def refuse(constant):
        raise ValueError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def with_sheet(evaluation, **changes):
    scores = evaluation.network.scores
    return with_network(evaluation, scores=replace(scores, sheet=replace(scores.sheet, **changes)))


def difference(mean, low, high, verdict, blocks=30):
    return Difference(mean=mean, low=low, high=high, blocks=blocks, correlation=0.0, verdict=verdict)


# ---- evaluation.json


def test_the_json_has_every_figure_of_every_row(evaluation):
    written = strict(json.dumps(as_json(evaluation), allow_nan=False))
    for figures, row in zip(written["rows"], evaluation.rows, strict=True):
        assert list(figures["by_category"]) == list(row.scores.by_category)
        parts = zip(figures["by_category"].values(), row.scores.by_category.values(), strict=True)
        for of_part, sheet in ((figures, row.scores.sheet), *parts):
            plain = asdict(sheet)
            for at in plain.pop("ranking"):
                for name in ("hit_rate", "ideal_hit_rate", "pai", "pei"):
                    assert of_part[name][f"{at['area_share']:g}"] == at[name]
            assert plain.items() <= of_part.items()
        assert figures["totals"] == json.loads(json.dumps(asdict(row.totals)))
        for name in ("model", "kind", "seeds", "seconds", "chosen"):
            assert figures[name] == getattr(row, name)
        assert figures["spread"]["nb_log_score"] == list(row.log_scores_of_seeds)
        for name, values in (("dispersion", row.dispersion.r), ("dispersion_power", row.dispersion.power)):
            assert list(figures[name].values()) == values.tolist()


def test_the_json_compares_with_the_best_baseline_in_all_and_by_category(evaluation):
    best = evaluation.row(evaluation.best_baseline)
    for figures, row in zip(as_json(evaluation)["rows"], evaluation.rows, strict=True):
        by_category = figures["versus_best_baseline_by_category"]
        assert (figures["versus_best_baseline"] is None) == (not by_category) == (row is best)
        if row is best:
            continue
        pairs = [(figures["versus_best_baseline"], row.versus_best_baseline, row.scores.sheet, best.scores.sheet)]
        for name, versus in by_category.items():
            sheets = (each.scores.by_category[name] for each in (row, best))
            pairs.append((versus, row.versus_by_category[name], *sheets))
        for versus, compared, own, of_best in pairs:
            assert versus["difference"] == pytest.approx(own.nb_log_score - of_best.nb_log_score, abs=1e-12)
            assert versus["percent"] == pytest.approx(100 * versus["difference"] / of_best.nb_log_score)
            assert {name: versus[name] for name in ("low", "high", "verdict")}.items() <= asdict(compared).items()


def test_the_spread_over_seeds_is_that_of_numpy_and_a_verdict_of_few_says_how_to_get_more(evaluation):
    rows = {row["kind"]: row for row in as_json(evaluation)["rows"]}
    scores = evaluation.network.log_scores_of_seeds
    assert rows["network"]["spread"]["standard_deviation"] == pytest.approx(np.std(scores, ddof=1))
    assert rows["rule"]["spread"]["standard_deviation"] is None
    few, enough = (sentences(with_network(evaluation, seeds=seeds))[-1] for seeds in (2, 5))
    assert few == f"{enough} It rests on 2 of the 5 seeds that it needs: give --seeds 5."


def test_what_needs_an_incident_is_null_where_there_was_none():
    quiet = as_json(small_evaluation(quiet=("fire",)))
    fire = quiet["rows"][0]["by_category"]["fire"]
    assert (fire["forecast_over_actual"], fire["pai"]["0.1"]) == (None, None)
    assert fire["nb_log_score"] is not None
    strict(json.dumps(quiet, allow_nan=False))
    cells = Elements(render(small_evaluation(**ALL_QUIET), b"")).cells
    assert NONE in cells
    assert "nan" not in cells


# ---- table


def printed(evaluation, width):
    console = Console(width=width, file=StringIO())
    print_table(evaluation, console)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize("width", [200, 100, 80])
def test_the_table_keeps_its_numbers_whole_at_any_width(evaluation, width):
    lines = printed(evaluation, width)
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    sheets = [row.scores.sheet for row in evaluation.rows]
    for row, score in zip(evaluation.rows, texts(COLUMNS[0], sheets), strict=True):
        line = next(line for line in lines if line.startswith(row.model))
        assert score in line.split()
        assert difference_text(row, evaluation) in line
    assert "…" not in text


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ((-0.02, -0.03, -0.01, "better"), r"better than the best rival \(EWMA x week\) by 2\.\d\d % .*"),
        ((0.02, 0.01, 0.03, "worse"), r"worse than the best rival .* by 2\.\d\d % .*: use EWMA x week\."),
        ((0.001, -0.01, 0.012, "tie"), r"A tie: .* \+0\.\d\d %, .* contains zero: use EWMA x week, it is simpler"),
        (
            (0.02, 0.01, 0.03, "too short", 4),
            r"Not known against .* 4 blocks of 3 days, .* 10: .* at least 30 days\. .* use EWMA x week",
        ),
    ],
)
def test_the_verdict_is_said_in_words(evaluation, found, words):
    versus = difference(*found)
    changed = with_network(evaluation, versus_best_baseline=versus, versus_best_rule=versus)
    assert re.search(words, sentences(changed)[-1])
    assert sentences(changed)[-1] in " ".join(printed(changed, 1000))


BETTER, TIE = difference(-0.02, -0.03, -0.01, "better"), difference(0.001, -0.01, 0.012, "tie")


def with_other(evaluation, row, **changes):
    """The evaluation with one row changed."""
    return replace(evaluation, rows=[replace(each, **changes) if each is row else each for each in evaluation.rows])


def test_counting_and_the_best_baseline_are_said_apart(evaluation):
    """The best rival sees the features; the best rule is another."""
    seen, rule = [row for row in evaluation.rows if row.kind == "rule"][:2]
    changed = replace(with_other(evaluation, seen, kind="regression"), best_rule=rule.model)
    changed = with_network(changed, versus_best_baseline=TIE, versus_best_rule=BETTER)
    counting, network = sentences(changed)
    assert counting.startswith("The network is better than the best of")
    assert changed.best_rule in counting
    assert network.startswith("A tie")
    assert changed.best_baseline in network
    text = " ".join(printed(changed, 1000))
    assert counting in text
    assert network in text


def test_what_the_network_adds_to_its_own_baseline_is_said_first(evaluation):
    _, rule = [row for row in evaluation.rows if row.kind == "rule"][:2]
    changed = with_other(evaluation, rule, model=OUR_BASELINE, kind="regression")
    first, *others = sentences(with_network(changed, versus_own_baseline=TIE))
    assert first.startswith("A tie: the network's log score differs from that of its own baseline by +0.")
    assert first.endswith("contains zero: the baseline, which counts alone, is as good.")
    assert others == list(sentences(evaluation))


def with_baseline(evaluation, **changes):
    """The same with the product's own baseline, whose forecasts are the network's. changes: of the network's row."""
    named = {"model": OUR_BASELINE, "kind": "regression", "versus_own_baseline": None}
    baseline = replace(evaluation.network, **named)
    return with_network(replace(evaluation, rows=[baseline, *evaluation.rows]), **changes)


def test_where_the_network_adds_nothing_that_is_said_once_and_the_baseline_is_the_row_that_is_served(evaluation):
    nothing = difference(0.0, 0.0, 0.0, "tie")
    same, other = (with_baseline(evaluation, versus_own_baseline=versus) for versus in (nothing, TIE))
    assert sentences(same)[0] == f"{ADDS_NOTHING}."
    assert sentences(replace(same, best_baseline=OUR_BASELINE))[1:].count(f"{ADDS_NOTHING}.") == 0
    assert ADDS_NOTHING not in " ".join(sentences(other))
    nowcast = Nowcast.of(0.7, 0.03, 10.0, 0.3, np.ones(1))
    served = [each.served for each in (same, replace(same, nowcast=nowcast), other, replace(other, nowcast=nowcast))]
    assert served == ["our baseline", "our baseline, nowcast", "network", "network, nowcast"]
    for each in (same, other):
        rows = re.findall(r'<tr class="served"><th scope="row">(.*?)</th>', render(each, b""))
        assert rows == [f"{each.served} (served)"]
        assert [line.split(" (")[0] for line in printed(each, 200) if " (served)" in line] == [each.served]


def test_place_and_level_are_named_apart(evaluation):
    """The rule with the network's totals has one percent less; of its map, the network is half a percent better."""
    rule = evaluation.row(evaluation.best_rule)
    score = 0.99 * rule.scores.sheet.nb_log_score
    levelled = replace(rule.scores, sheet=replace(rule.scores.sheet, nb_log_score=score))
    place = difference(-0.005 * score, -0.02 * score, 0.01 * score, "tie")
    changed = with_other(evaluation, rule, levelled=levelled, place=place)
    assert sentences(changed)[-1].startswith(
        f"Apart, against {rule.model}: by place alone, with the network's totals in it, -0.50 % (-2.00, +1.00): tie; "
        "by level alone, how many in all, -1.00 %."
    )
    written = next(row for row in as_json(changed)["rows"] if row["model"] == rule.model)
    assert written["nb_log_score_with_our_level"] == score
    assert written["network_by_place"]["percent"] == pytest.approx(-0.5)
    line = next(line for line in printed(changed, 200) if line.startswith(rule.model))
    before, after = (set(Elements(render(each, b"")).cells) for each in (evaluation, changed))
    (shown,) = (after - before) & set(line.split())
    assert float(shown) == pytest.approx(score, abs=1e-4)


@pytest.fixture(scope="module")
def parts():
    return [small_evaluation(skill=0.3, seed=seed) for seed in (1, 2)]


def rolled(parts):
    """The last of these evaluations, with all of them as its origins."""
    return replace(parts[-1], origins=combine_origins(parts, seed=0))


def test_over_several_origins_the_advice_is_that_of_all_of_them(parts):
    said = sentences(with_network(rolled(parts), versus_best_baseline=TIE))
    at = said.index("On the last block of time alone:")
    assert said[0].startswith("Judged on blocks of time that start at")
    assert all("over all 2 origins" in sentence for sentence in said[1:at])
    assert "contains zero. It rests on" in said[at + 1]
    assert not any("use " in sentence for sentence in said[at:])


def test_over_several_origins_rules_have_the_level_too_and_what_adds_nothing_at_some_is_counted(parts):
    """At the first of two origins network and baseline are equal."""

    def levelled(part, factor):
        rows = []
        for row in with_baseline(part).rows:
            by = 1.0 if row.kind == "network" else factor
            sums = by * row.scores.log_score_sums.mean(axis=0, keepdims=True)
            sheet = replace(row.scores.sheet, nb_log_score=by * row.scores.sheet.nb_log_score)
            scores = replace(row.scores, sheet=sheet, log_score_sums=sums)
            is_rule = row.kind == "rule"
            rows.append(replace(row, levelled=scores) if is_rule else replace(row, scores=scores))
        return replace(part, rows=rows)

    some, everywhere = (rolled([levelled(parts[0], 1.0), levelled(parts[1], factor)]) for factor in (1.01, 1.0))
    assert f"{ADDS_NOTHING}: so at 1 of the 2 origins." in sentences(some)
    assert f"{ADDS_NOTHING}." in sentences(everywhere)
    rows = {row.model: row for row in some.origins.rows}
    rule, network = rows[some.origins.best_rule], rows["network"]
    assert rule.levelled_score == pytest.approx(np.dot(rule.nb_log_scores, (1.0, 1.01)) / 2)
    assert rule.place.mean == pytest.approx(network.nb_log_score - rule.levelled_score)
    assert any(line.startswith(f"Apart, against {rule.model}: by place alone") for line in sentences(some))


def test_over_several_origins_incidents_of_hours_that_are_cut_out_lift_no_verdict(parts):
    def verdicts(parts):
        return {row.versus_best_baseline.verdict for row in rolled(parts).origins.rows if row.versus_best_baseline}

    def cut(part):
        task = part.task
        hours = np.arange(task.cube.starts_s[task.test] // HOUR_S, task.cube.starts_s[-1] // HOUR_S + 24)
        return replace(part, task=replace(task, incidents=replace(task.incidents, cut_hours=hours)))

    assert "too few" not in verdicts(parts)
    assert verdicts([cut(part) for part in parts]) == {"too few"}


def test_several_origins_are_in_the_page_the_terminal_and_the_json(parts):
    whole = rolled(parts)
    rows = {row.model: row for row in whole.origins.rows}
    written = strict(json.dumps(as_json(whole), allow_nan=False))["origins"]
    for found, row in zip(written["rows"], whole.origins.rows, strict=True):
        expected = [part.row(row.model).scores.sheet.nb_log_score for part in parts]
        assert row.nb_log_scores == tuple(expected)
        assert row.nb_log_score == pytest.approx(np.mean(expected))
        assert (found["model"], found["nb_log_scores"]) == (row.model, expected)
        if row.model != written["best_rule"]:
            rule = rows[written["best_rule"]]
            assert found["versus_best_rule"]["difference"] == pytest.approx(row.nb_log_score - rule.nb_log_score)
            assert found["versus_best_rule"]["blocks"] == 2 * 34
    for text in (" ".join(printed(whole, 1000)), unescape(render(whole, b""))):
        assert "over all 2 origins" in text
    assert "origins" not in render(parts[0], b"")


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
    right = with_sheet(evaluation, coverage_90=0.9, forecast_over_actual=1.0)
    assert warnings(right) == ()
    broken = with_sheet(right, **changes)
    for text in (*warnings(broken), " ".join(printed(broken, 1000)), render(broken, b"")):
        assert words in text


ALL_QUIET = {"categories": ("fire",), "quiet": ("fire",), "judged": 40}


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


def test_the_page_needs_nothing_but_itself_and_can_be_read_by_all(page):
    elements = Elements(page).found
    assert "script" not in {tag for tag, _ in elements}
    assert not [name for _, attributes in elements for name in attributes if name.startswith("on")]
    loads = [value for _, attributes in elements for name, value in attributes.items() if name in ("src", "href")]
    assert [value for value in loads if not value.startswith("data:image/png;base64,")] == ["evaluation.json"]
    assert not re.search(r"url\(|@import", page)
    policy = next(attributes["content"] for _, attributes in elements if "http-equiv" in attributes)
    assert "default-src 'none'" in policy
    assert ("html", {"lang": "en"}) in elements
    (image,) = [attributes for tag, attributes in elements if tag == "img"]
    assert len(image["alt"]) > 30
    scopes = {attributes.get("scope") for tag, attributes in elements if tag == "th"}
    assert scopes == {"row", "col"}


def test_the_page_has_every_number_of_the_table_what_was_found_and_what_it_is_not_for(evaluation, page):
    cells = Elements(page).cells
    for column in COLUMNS:
        assert set(texts(column, [row.scores.sheet for row in evaluation.rows])) <= set(cells)
    for row in evaluation.rows:
        name = f"{row.model} (served)" if row.model == evaluation.served else row.model
        assert {name, difference_text(row, evaluation)} <= set(cells)
    text = " ".join(unescape(page).split())
    said = (*sentences(evaluation), *warnings(evaluation), evaluation.task.data_sha256)
    assert all(sentence in text for sentence in (*said, "places, never people", "enforcement"))
    assert "predictive policing" not in text.lower()


def test_names_are_text_in_page_and_table():
    hostile = small_evaluation(network=HOSTILE, categories=("fire", HOSTILE))
    assert HOSTILE in "\n".join(printed(hostile, 200))
    hostile = replace(hostile, task=replace(hostile.task, title=HOSTILE))
    parsed = Elements(render(hostile, b""))
    assert "script" not in {tag for tag, _ in parsed.found}
    assert f"{HOSTILE} (served)" in parsed.cells
    assert not [name for _, attributes in parsed.found for name in attributes if name not in KNOWN]


KNOWN = {"lang", "charset", "http-equiv", "content", "name", "class", "id", "role", "tabindex", "scope"}
KNOWN |= {"src", "alt", "href", "aria-labelledby", "aria-label"}


def test_the_report_replaces_an_older_one_and_equal_evaluations_give_equal_files(evaluation, folder, tmp_path):
    (tmp_path / "index.html").write_text("old")
    write_report(small_evaluation(skill=0.3), tmp_path)
    names = {"index.html", "evaluation.json", "reliability.png"}
    assert {path.name for path in tmp_path.iterdir()} == names
    for name in names:
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes(), name
    assert json.loads((folder / "evaluation.json").read_text(encoding="utf-8")) == as_json(evaluation)
    with pytest.raises(DataError, match=r"index.html.*choose another"):
        write_report(evaluation, tmp_path / "index.html" / "report")

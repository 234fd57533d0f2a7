"""Posts that follow a forecast: every figure against a second, plain implementation on a small grid."""

import json
import re
from dataclasses import replace
from html import unescape
from io import StringIO
from itertools import combinations_with_replacement, pairwise

import numpy as np
import pytest
from rich.console import Console

from models.evaluation.posts import FIXED, FORESIGHT, PostsJudge
from models.evaluation.product import spec_of
from models.evaluation.report.as_json import as_json
from models.evaluation.report.page import render
from models.evaluation.report.posts import posts_measured
from models.evaluation.report.table import print_table
from schemas.errors import ArtifactError, DataError
from schemas.left_behind.posts_measured import keep_posts_measured, read_posts_measured
from tests.harness.small_task import GRID, evaluated

KM = 3.0
POINTS_A_SIDE = 4  # eight of 500 m to the edge would be more, and four is the most


def placed(task):
    """The task with each incident somewhere in its cell."""
    random, per_degree = np.random.default_rng(5), np.array(GRID.metres_per_degree)
    row_col = np.stack(np.divmod(task.cell, GRID.cols)) + random.random((2, len(task.cell)))
    lat, lon = np.array([[GRID.south_deg], [GRID.west_deg]]) + row_col * GRID.cell_m / per_degree[:, None]
    return replace(task, incidents=replace(task.incidents, lat_deg=lat, lon_deg=lon), answered_by=("ems",))


@pytest.fixture(scope="module")
def town(task):
    return placed(task)


def judge_of(task, units=(2,), km=(KM,), known=None):
    return PostsJudge.of(task, spec_of(task), units, km, task.test if known is None else known)


class Plain:
    """The same, by loops over sets of points, straight from the words."""

    def __init__(self, task):
        self.task, step_m = task, GRID.cell_m / POINTS_A_SIDE
        self.at, self.cell_of = [], []
        for cell in range(GRID.cells):
            for point in np.ndindex(POINTS_A_SIDE, POINTS_A_SIDE):
                self.at.append(np.array(divmod(cell, GRID.cols)) * GRID.cell_m + (np.array(point) + 0.5) * step_m)
                self.cell_of.append(cell)
        past = task.cube.counts[: task.test, :, 1].sum(axis=0) * task.scored
        self.usual = past.astype(float)
        self.places = [(np.array(divmod(cell, GRID.cols)) + 0.5) * GRID.cell_m for cell in np.flatnonzero(past)]
        self.far = np.array([[np.hypot(*(point - place)) for point in self.at] for place in self.places])
        self.reached = [frozenset(np.flatnonzero(row <= 1000 * KM + 0.001).tolist()) for row in self.far]

    def within(self, posts, expected):
        union = frozenset().union(*(self.reached[post] for post in posts))
        return sum(expected[self.cell_of[point]] for point in union) / POINTS_A_SIDE**2 / expected.sum()

    def near(self, place, expected):
        weight = np.array([expected[self.cell_of[point]] for point in sorted(self.reached[place])])
        return weight @ self.far[place][sorted(self.reached[place])] / max(weight.sum(), 1e-300)

    def improved(self, posts, expected):
        """One unit after the other may go to the best place, of equal ones the nearest, until none has gained."""
        posts, near = list(posts), [self.near(place, expected) for place in range(len(self.places))]
        unit = unchanged = 0
        while unchanged < len(posts):
            others = posts[:unit] + posts[unit + 1 :]
            values = [self.within([*others, place], expected) for place in range(len(self.places))]
            equal = [place for place, value in enumerate(values) if value >= max(values) - 1e-9]
            place = min(equal, key=lambda each: near[each])
            unchanged += 1
            if values[place] > self.within(posts, expected) + 1e-9:
                posts[unit], unchanged = place, 0
            unit = (unit + 1) % len(posts)
        return tuple(sorted(posts))

    def figures(self, posts_of_step, expected_of_step):
        task, per_degree = self.task, np.array(GRID.metres_per_degree)
        far, promised, changed = [], 0.0, []
        for call in range(len(task.cell)):
            step = int(np.searchsorted(task.cube.starts_s, task.incidents.occurred_s[call], side="right")) - 1
            if step >= task.test and task.incidents.category[call] == 1 and task.scored[task.cell[call]]:
                degrees = np.array([task.incidents.lat_deg[call], task.incidents.lon_deg[call]])
                at = (degrees - (GRID.south_deg, GRID.west_deg)) * per_degree
                far.append(min(np.hypot(*(at - self.places[post])) for post in posts_of_step[step - task.test]))
        for posts, expected in zip(posts_of_step, expected_of_step, strict=True):
            promised += expected.sum() * self.within(posts, expected)
        for before, after in pairwise(posts_of_step):
            left = list(before)
            for post in after:
                if post in left:
                    left.remove(post)
            changed.append(len(left))
        promised /= sum(expected.sum() for expected in expected_of_step)
        far = np.array(far)
        return {
            "within": np.mean(far <= 1000 * KM),
            "mean_km": far.mean() / 1000,
            "high_km": np.percentile(far, 90) / 1000,
            "promised": promised,
            "changed": np.mean(changed),
        }


@pytest.mark.parametrize("units", [1, 2])
def test_every_figure_is_that_of_a_second_implementation(small, units):
    task, truth = placed(small[0]), small[1][small[0].test :]
    judge, plain = judge_of(task, (units,)), Plain(task)
    fixed = judge.fixed[(units, KM)]
    every = combinations_with_replacement(range(len(plain.places)), units)
    assert plain.within(fixed, plain.usual) == pytest.approx(max(plain.within(each, plain.usual) for each in every))
    followed = judge.followed("truth", lambda run: truth[run.start - task.test : run.stop - task.test, task.scored])
    rows = judge.rows([followed])
    assert [row.model for row in rows] == [FIXED, "truth", FORESIGHT]
    truths = truth[:, :, 1] * task.scored
    counts = (task.cube.counts[task.test :, :, 1] * task.scored).astype(float)
    for row, each in zip(rows[1:], (truths, counts), strict=True):
        posts = [plain.improved(fixed, expected) if expected.sum() else fixed for expected in each]
        figures = plain.figures(posts, each)
        if row.model == FORESIGHT:  # of a few whole calls several posts are equal in all but rounding
            figures = {name: figures[name] for name in ("within", "promised")}
        assert {name: getattr(row, name) for name in figures} == pytest.approx(figures)
    still = plain.figures([fixed] * len(truth), [plain.usual] * len(truth))
    assert {name: getattr(rows[0], name) for name in still} == pytest.approx(still)
    assert rows[1].versus_fixed.mean == pytest.approx(rows[1].within - rows[0].within)
    assert rows[1].versus_fixed.low <= rows[1].versus_fixed.mean <= rows[1].versus_fixed.high
    assert rows[2].versus_fixed.verdict == "better"
    assert (rows[0].versus_fixed, rows[0].changed) == (None, 0)


def test_fixed_posts_know_nothing_of_what_is_judged(town):
    counts = town.cube.counts.copy()
    counts[town.test :] = counts[town.test :, ::-1]
    other = replace(town, cube=replace(town.cube, counts=counts))
    assert judge_of(other, (1, 2)).fixed == judge_of(town, (1, 2)).fixed


def test_few_calls_give_no_verdict(town):
    few = replace(town, incidents=replace(town.incidents, category=town.incidents.category * 0), answered_by=("ems",))
    few.incidents.category[-5:] = 1
    judge = judge_of(few)
    row = judge.rows([judge.followed("usual", lambda run: np.ones((len(run), int(few.scored.sum()), 2)))])[1]
    assert row.versus_fixed.verdict == "too few"


def test_posts_are_refused_where_units_answer_nothing(task):
    with pytest.raises(ArtifactError, match="its spec names no category that standing units answer"):
        evaluated(task, posts=(2,), reach_km=(KM,))


@pytest.mark.parametrize(("units", "km", "said"), [((201,), KM, "201 units"), ((2,), 0.5, "less than half a cell")])
def test_what_is_no_question_is_refused_before_the_work(town, units, km, said):
    with pytest.raises(DataError, match=said):
        evaluated(town, posts=units, reach_km=(km,))


def test_a_report_has_a_table_for_each_number_of_units_and_reach(town, quick, tmp_path):
    evaluation = evaluated(town, posts=(1, 2), reach_km=(3.0, 5.0))
    models = {row.model for row in evaluation.rows}
    assert len(evaluation.posts) == 4 * (len(models) + 2)
    assert {row.model for row in evaluation.posts} == {*models, FIXED, FORESIGHT}
    console = Console(width=200, file=StringIO())
    print_table(evaluation, console)
    page, output = unescape(render(evaluation, b"")), console.file.getvalue()
    network = next(row for row in evaluation.posts if (row.model, row.units, row.km) == ("network", 2, 3.0))
    for text in (page, output):
        assert all(f"{units} units, {km} km" in text for units in (1, 2) for km in (3, 5))
        assert f"{100 * network.within:.1f}" in text
        assert re.search(r"2 units, 3 km: (better|worse|tie): posts that follow the forecast reach", text)
        assert FORESIGHT in text
    measured = posts_measured(evaluation, "v1", 1_764_000_000)
    left = next(each for each in measured.settings if each.setting == "02 units, 3 km")
    fixed = next(row for row in evaluation.posts if (row.model, row.units, row.km) == (FIXED, 2, 3.0))
    figures = (fixed.within, network.within - fixed.within, network.promised - network.within)
    assert (left.fixed, left.gain, left.promised_less_kept) == pytest.approx(figures)
    assert left.says.startswith(network.versus_fixed.verdict)
    (tmp_path / "town").mkdir()
    keep_posts_measured(tmp_path, "town", measured)
    assert read_posts_measured(tmp_path, "town") == measured
    rows = json.loads(json.dumps(as_json(evaluation), allow_nan=False))["posts"]
    assert [(row["model"], row["within"]) for row in rows] == [(row.model, row.within) for row in evaluation.posts]
    assert {row["versus_fixed"]["verdict"] for row in rows if row["versus_fixed"]} <= {"better", "worse", "tie"}
